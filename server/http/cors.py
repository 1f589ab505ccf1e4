"""Which origins may read responses and open WebSockets: the allow-list, and the headers that say so."""

from collections.abc import Sequence

from aiohttp import hdrs, web
from aiohttp.web import BaseRequest

_ALLOWED_METHODS = "GET, POST, DELETE, OPTIONS"
_ALLOWED_HEADERS = (
    "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-CSRF-Token, X-Request-Id, X-Towow-At-Least"
)
_EXPOSED_HEADERS = "X-Request-Id, X-Run-Id, X-Towow-Seq, Retry-After"
_PREFLIGHT_SECONDS = "600"


class Cors:
    """Which origins may read answers; `"*"` allows every origin, without credentials."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._allows_any = "*" in origins
        self._allowed = frozenset(origins)

    def headers(self, request: BaseRequest) -> dict[str, str]:
        """The headers for this request's origin; empty without an allow-list."""
        if not self._allowed:
            return {}
        found: dict[str, str] = {hdrs.VARY: "Origin"}
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or not (self._allows_any or origin in self._allowed):
            return found
        found["Cross-Origin-Resource-Policy"] = "cross-origin"
        found[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED_HEADERS
        if self._allows_any:
            found[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
        else:
            found[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            found[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
        if request.method == hdrs.METH_OPTIONS:
            found[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _ALLOWED_METHODS
            found[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _ALLOWED_HEADERS
            found[hdrs.ACCESS_CONTROL_MAX_AGE] = _PREFLIGHT_SECONDS
        return found

    def allows_websocket(self, request: BaseRequest, *, is_by_cookie: bool = False) -> bool:
        """Whether the page may open a WebSocket. A browser lets every page try and shows it everything, so the server decides.

        `"*"` is without credentials here, too: a cookie counts only for our own pages and those that are named."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or origin in self._allowed or (self._allows_any and not is_by_cookie):
            return True
        return origin.partition("://")[2].lower() == request.headers.get(hdrs.HOST, "").lower()


CORS = web.AppKey("cors", Cors)
