"""A stand-in for the host of ZeroGPU: what the package ``spaces`` asks when it wants a GPU (its ``zero/api.py``)."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


def token(visitor: str) -> str:
    """Value of the header ``X-IP-Token`` that a Space's frame adds to what a visitor's page asks."""
    parts = ({"alg": "none"}, {"ip": visitor}, {})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


class Host(ThreadingHTTPServer):
    """Lends one GPU. ``quota`` : seconds that each visitor has left; ``longest`` : that a call may ask for; ``full`` :
    none gets free in time; ``reuse`` : a process that had it is given it again. ``asked`` : parameters of each call;
    ``lent`` : how often."""

    def __init__(self, quota: float = 120, longest: float = 120, full: bool = False, reuse: bool = False):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.quota, self.longest, self.full, self.reuse = quota, longest, full, reuse
        self.asked: list[tuple[str, dict]] = []
        self.lent = 0

    @property
    def settings(self) -> dict[str, str]:
        """Variables of the Space's environment."""
        url = f"http://127.0.0.1:{self.server_port}"
        return {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": url}

    def calls(self, name: str) -> list[dict]:
        """Parameters of each call of one kind: ``schedule``, ``allow``, ``release``."""
        return [parameters for kind, parameters in self.asked if kind == name]


class _Answers(BaseHTTPRequestHandler):
    server: Host

    def do_POST(self):
        parts = urlsplit(self.path)
        name, given = parts.path.strip("/"), dict(parse_qsl(parts.query))
        self.server.asked.append((name, given))
        if name == "schedule":
            self._schedule(int(given["durationSeconds"]), given.get("token"))
        else:
            self._answer(200, {})

    def _schedule(self, seconds: int, token: str | None) -> None:
        host = self.server
        if seconds > host.longest:
            self._answer(429, {"left": 0, "wait": -1})
        elif token is None or seconds > host.quota:
            self._answer(429, {"left": int(host.quota), "wait": 3600})
        elif host.full:
            self._answer(200, "event: failed\n\n")
        else:
            idle, host.lent = host.reuse and host.lent > 0, host.lent + 1
            self._answer(200, {"idle": idle, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": str(host.lent)})

    def _answer(self, status: int, *content) -> None:
        stream = isinstance(content[0], str)
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if stream else "application/json")
        self.send_header("connection", "close")
        self.end_headers()
        for one in content:
            self.wfile.write((one if stream else json.dumps(one)).encode())
            self.wfile.flush()

    def log_message(self, *_):
        pass
