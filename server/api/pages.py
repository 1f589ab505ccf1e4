"""The browser pages: every file of `static/` read into memory at start and served by name, never by path."""

import functools
import hashlib
import mimetypes
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import web

from server.http import params
from towow.errors import NotFound

# No inline script or style, nothing from elsewhere: text that slips through an escape still cannot run.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; connect-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'; object-src 'none'"
)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",  # declarations and samples, to read
    ".tsx": "text/plain",
}
_TEXT = ("text/", "image/svg")
# Names that a source document fixes or that an earlier version had: each answers with the page itself.
_ALIASES = {
    "index.html": "demands.html",
    "workbench.html": "sessions.html",
    "demo_sse_streaming.html": "tasks.html",
    "studio.html": "generations.html",
}


class PageRoutes:
    """Handlers of `/`, `/NAME.html` and `/static/*`."""

    def __init__(self) -> None:
        self._files = _static_files()

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.get("/", self.index),
            web.get("/favicon.ico", self.favicon),
            web.get("/{page:[a-z_]+}.html", self.page),
            web.get("/static/{name:.+}", self.file),
        )

    @params.takes_any
    async def index(self, request: web.Request) -> web.Response:
        """GET /

        The first page: submit a demand and watch it."""
        return self._answer(request, "demands.html")

    @params.takes_any
    async def favicon(self, request: web.Request) -> web.Response:
        """GET /favicon.ico

        The icon, for browsers that ask for it by its old name."""
        return self._answer(request, "favicon.svg")

    @params.takes_any
    async def page(self, request: web.Request) -> web.Response:
        """GET /{page}.html

        A page by its name or one of its older names. Errors: not_found."""
        return self._answer(request, f"{request.match_info['page']}.html")

    @params.takes_any
    async def file(self, request: web.Request) -> web.Response:
        """GET /static/{name}

        A script, style or picture by its name. Errors: not_found."""
        return self._answer(request, request.match_info["name"])

    def _answer(self, request: web.Request, name: str) -> web.Response:
        found = self._files.get(_ALIASES.get(name, name))
        if found is None:
            raise NotFound("there is no such page")
        body, content_type, tag = found
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if content_type == "text/html":
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        if tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if content_type.startswith(_TEXT) else None
        return web.Response(body=body, content_type=content_type, charset=charset, headers=headers)


@functools.cache
def _static_files() -> dict[str, tuple[bytes, str, str]]:
    """The files by name, read once in a process, however many applications it builds."""
    return dict(_files(resources.files("server") / "static", ""))


def _files(folder: Traversable, prefix: str) -> list[tuple[str, tuple[bytes, str, str]]]:
    """Every file below a folder: name with slashes → bytes, type, entity tag."""
    found = []
    for item in folder.iterdir():
        if item.is_dir():
            found += _files(item, f"{prefix}{item.name}/")
        elif not item.name.startswith("."):
            body = item.read_bytes()
            suffix = item.name[item.name.rfind(".") :]
            content_type = _TYPES.get(suffix) or mimetypes.guess_type(item.name)[0] or "application/octet-stream"
            found.append((f"{prefix}{item.name}", (body, content_type, f'"{hashlib.sha256(body).hexdigest()[:20]}"')))
    return found
