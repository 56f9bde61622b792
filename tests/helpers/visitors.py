"""Visitors of a hosted studio, by their browsers' tokens, and what they ask of it without a browser."""

import json
import urllib.error
import urllib.request

from frami.hosting.owners import Visitor, visitor

TOKENS = {name: name[0].upper() * 32 for name in ("ada", "ben", "cleo", "dora")}


def named(name: str, shared: str = "", host: str | None = None) -> Visitor:
    """One of them, as the services know them."""
    return visitor(TOKENS[name], shared, host)


def post(
    address: str, path: str, body: bytes, name: str | None = None, kind: str = "application/json", shared="", **more
) -> tuple:
    """Status and JSON or text that the studio answers a visitor; None is one without a token. more : headers."""
    headers = {"content-type": kind} | ({"x-frami-visitor": TOKENS[name]} if name else {})
    headers |= ({"x-frami-shared": shared} if shared else {}) | {
        name.replace("_", "-"): one for name, one in more.items()
    }
    asked = urllib.request.Request(f"{address}{path}", body, headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as reply:
            status, text = reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def config(address: str) -> dict:
    """What the page is built of."""
    with urllib.request.urlopen(f"{address}config", timeout=60) as reply:
        return json.load(reply)


def functions(address: str) -> dict[str, int]:
    """All that scripts of the page may call: ``elem_id.name`` and its component."""
    return {
        f"{part['props'].get('elem_id')}.{name}": part["id"]
        for part in config(address)["components"]
        for name in part["props"].get("server_fns") or []
    }


def call(address: str, component: int, function: str, data, name: str | None = None, shared: str = "") -> tuple:
    """Status and answer of a function of the page's scripts."""
    body = {"component_id": component, "fn_name": function, "session_hash": f"page-of-{name}", "data": data}
    return post(address, "gradio_api/component_server/", json.dumps(body).encode(), name, shared=shared)
