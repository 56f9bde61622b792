"""The network address that a visitor comes from, as far as it can be believed: who invents a name for every request
still has one address. Nothing here is written anywhere: an address is known by a hash whose key this process alone has.
"""

import hashlib
import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from frami.errors import FramiError
from frami.hosting import limits

_log = logging.getLogger(__name__)
SETTING = "FRAMI_TRUSTED_PROXIES"
_FORWARDED = b"x-forwarded-for"
#: This machine; and the networks of which a Space's proxy is one, behind which no visitor is.
_OWN = ("127.0.0.0/8", "::1/128")
_OF_A_SPACE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
#: Bits of an IPv6 address that one line has: the rest is its user's to choose.
_LINE = 56
_KEY = secrets.token_bytes(32)
#: Runs whose origin is remembered.
_RUNS = 10_000


def proxies() -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks of proxies, whose ``X-Forwarded-For`` is believed: this machine, and what ``FRAMI_TRUSTED_PROXIES``
    names or, in a Space without it, all private networks. FramiError where it cannot be read."""
    return _networks(os.environ.get(SETTING, ""), bool(os.environ.get("SPACE_ID")))


@lru_cache(maxsize=8)
def _networks(said: str, space: bool) -> tuple[IPv4Network | IPv6Network, ...]:
    named = [part.strip() for part in said.split(",") if part.strip()]
    try:
        return tuple(map(ip_network, (*_OWN, *(named or (_OF_A_SPACE if space else ())))))
    except ValueError as error:
        raise FramiError(
            f"{SETTING}: {error}; give addresses and networks of proxies, as 10.0.0.7,192.168.1.0/24"
        ) from error


def hashed(host: str | None) -> str | None:
    """What a visitor's address is known by: the same for one IPv4 address, and for all IPv6 addresses of one line.
    None where it is not known: of a proxy that does not say who asks, and of this machine itself; and where nothing is
    limited."""
    if host is None or not limits.current():
        return None
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # all of these together
        return _digest(b"")
    if isinstance(address, IPv6Address):
        tunnel = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        address = tunnel or address
    if any(address in network for network in proxies()):
        return None
    return _digest(address.packed[: _LINE // 8])


def look_for_proxy(client: tuple[str, int] | None, headers: Mapping[bytes, bytes]) -> None:
    """Warn where a request comes from a proxy of a private address that is not trusted. client, headers : as in ASGI,
    where uvicorn gives port 0 to an address that a trusted proxy has said."""
    if client is None or not client[1] or _FORWARDED not in headers or hashed(client[0]) is None:
        return
    with suppress(ValueError):
        address = ip_address(client[0].partition("%")[0])
        if any(address in ip_network(network) for network in _OF_A_SPACE):
            _warn()


@lru_cache(maxsize=1)
def _warn() -> None:
    """Once; the address is not logged."""
    _log.warning(
        "visitors come through a proxy of a private address that is not trusted: all of them count as one address. "
        "Name it in %s (docs/hosting.md, Addresses)", SETTING
    )  # fmt: skip


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, key=_KEY, digest_size=16).hexdigest()


class Origins:
    """From which address each of the latest runs was begun, as long as this process lives."""

    def __init__(self):
        self._of: dict[str, str] = {}

    def note(self, run: str, address: str | None) -> None:
        """A run was begun, or resumed, from this address."""
        self._of.pop(run, None)
        if address is not None:
            self._of[run] = address
        while len(self._of) > _RUNS:
            del self._of[next(iter(self._of))]

    def of(self, run: str) -> str | None:
        """The address; None where it is not known."""
        return self._of.get(run)
