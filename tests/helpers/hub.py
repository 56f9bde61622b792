"""A stand-in for the Hugging Face Hub on 127.0.0.1: what huggingface_hub asks for to read and to write a
repository, of a model or of a Space."""

import base64
import hashlib
import json
import re
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.helpers.servers import serving


class Hub(ThreadingHTTPServer):
    """``repositories`` : files by name, by OWNER/NAME; ``facts`` : what else a repository's description says;
    ``refusals`` : status and error code with which one is refused; ``asked`` : methods and paths of requests;
    ``claims`` : sizes that it states in place of the true ones; ``large`` : ending of files that go by LFS."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.facts, self.refusals, self.claims, self.stored = {}, {}, {}, {}
        self.asked, self.made, self.large = [], [], ".safetensors"
        self.url = f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str) -> str:
        """The hash of what a repository holds now."""
        content = sorted((file, hashlib.sha256(data).hexdigest()) for file, data in self.repositories[name].items())
        return hashlib.sha1(json.dumps(content).encode()).hexdigest()

    def size(self, name: str, file: str) -> int:
        return self.claims.get(file, len(self.repositories[name][file]))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, path = self.server, unquote(self.path.partition("?")[0])
        server.asked.append(f"{self.command} {path}")
        api = re.fullmatch(r"/api/(?:models|spaces)/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name = api[1] if api else file[1] if file else ""
        if name in server.refusals:
            status, code = server.refusals[name]
            return self.answer(status, {"error": "refused"}, {"X-Error-Code": code} if code else {})
        if name not in server.repositories:
            return self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        files, commit = server.repositories[name], server.commit(name)
        revision = (api[3] or "main") if api else file[2]
        if revision not in ("main", "v1", "refs/pr/1", commit):
            return self.answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        if file:
            if file[3] not in files:
                return self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            content = files[file[3]]
            tag = f'"{hashlib.sha1(content).hexdigest()}"'
            return self.answer(200, content, {"X-Repo-Commit": commit, "ETag": tag, "X-Linked-Etag": tag})
        if api[2] == "tree":
            rows = [
                {"type": "file", "path": own, "size": server.size(name, own), "oid": hashlib.sha1(data).hexdigest()}
                for own, data in files.items()
            ]
            return self.answer(200, rows)
        siblings = [{"rfilename": own, "size": server.size(name, own), "blobId": "0" * 40} for own in files]
        about = {"_id": "0", "id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings}
        return self.answer(200, about | server.facts.get(name, {}))

    do_HEAD = do_GET

    def do_POST(self):
        server, path = self.server, unquote(self.path.partition("?")[0])
        server.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            value = json.loads(body)
            name = f"{value['organization']}/{value['name']}"
            if name in server.refusals:
                return self.answer(server.refusals[name][0], {"error": "refused"})
            if name in server.repositories:
                return self.answer(409, {"error": "You already created this model repo", "url": f"{server.url}/{name}"})
            server.repositories[name] = {}
            server.made.append(value)
            return self.answer(200, {"url": f"{server.url}/{name}", "name": name, "id": "0"})
        if found := re.fullmatch(r"/api/(?:models|spaces)/(.+)/preupload/main", path):
            kinds = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(server.large) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": kinds})
        if re.fullmatch(r"/.+\.git/info/lfs/objects/batch", path):
            objects = [
                one | {"actions": {"upload": {"href": f"{server.url}/store/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if found := re.fullmatch(r"/api/(?:models|spaces)/(.+)/commit/main", path):
            for row in map(json.loads, body.splitlines()):
                if row["key"] == "file":
                    server.repositories[found[1]][row["value"]["path"]] = base64.b64decode(row["value"]["content"])
                elif row["key"] == "lfsFile":
                    server.repositories[found[1]][row["value"]["path"]] = server.stored[row["value"]["oid"]]
                elif row["key"] == "deletedFile":
                    del server.repositories[found[1]][row["value"]["path"]]
            commit = server.commit(found[1])
            return self.answer(200, {"commitUrl": f"{server.url}/{found[1]}/commit/{commit}", "commitOid": commit})
        return self.answer(404, {"error": path})

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored[self.path.rpartition("/")[2]] = content
        self.answer(200, {})

    def answer(self, status: int, value, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def running() -> AbstractContextManager[Hub]:
    return serving(Hub())
