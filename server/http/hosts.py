"""The names that this server answers to: a web page must not reach it through a name of its own (DNS rebinding)."""

import ipaddress
from collections.abc import Sequence

from aiohttp import hdrs, web

from towow.errors import Forbidden

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PROBES = frozenset({"/health/live", "/health/ready"})  # load balancers ask by address, and are told one word


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AllowedHosts:
    """Checks the Host header: on loopback always, elsewhere against `allowed` when there are any."""

    def __init__(self, listening_on: str, allowed: Sequence[str]) -> None:
        self._is_checked = is_loopback(listening_on) or bool(allowed)
        self._allowed = _LOCAL | {name.lower() for name in allowed} | {listening_on}
        self._known: set[str] = set()

    def check(self, request: web.Request) -> None:
        """Raise `Forbidden` for a name that is not ours. A request without one (HTTP/1.0) is no browser's."""
        if not self._is_checked:
            return
        given = request.headers.get(hdrs.HOST)
        if given is None or given in self._known or request.path in _PROBES:
            return
        if not self._is_ours(given):
            raise Forbidden("this server is not called by that name; add it to allowed_hosts in [server]", field="Host")
        if len(self._known) < 100:
            self._known.add(given)

    def _is_ours(self, given: str) -> bool:
        name = given.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        name = name.rstrip(".")
        return name in self._allowed or name.endswith(".localhost") or (name[:4] == "127." and is_loopback(name))
