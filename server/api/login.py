"""Logging in and out, tickets, and who one is."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from server.auth.authenticator import Authenticator, principal_of
from server.auth.cookies import COOKIE
from server.auth.principal import VERBS, Principal
from server.auth.rate_limits import Clients, RateLimits
from server.config import Config
from server.eventlog.selection import select
from server.http import params
from server.http.responses import JsonResponse, json_response
from towow.errors import InvalidBody, Unauthorized
from towow.events import timestamp_of


class _LoginInput(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class _TicketInput(msgspec.Struct, forbid_unknown_fields=True):
    streams: list[str]


_MAX_LOGIN_BYTES = 16_384  # nobody knows yet who sends it
_LOGIN = msgspec.json.Decoder(_LoginInput)
_TICKET = msgspec.json.Decoder(_TicketInput)


class AuthRoutes:
    """Handlers of `/api/login`, `/api/logout`, `/api/session` and `/api/tickets`."""

    def __init__(self, authenticator: Authenticator, limits: RateLimits, clients: Clients, config: Config) -> None:
        self._authenticator = authenticator
        self._limits = limits
        self._clients = clients
        self._config = config

    def table(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return (
            web.post("/api/login", self.login),
            web.post("/api/logout", self.logout),
            web.get("/api/session", self.session),
            web.post("/api/tickets", self.tickets),
        )

    async def login(self, request: web.Request) -> web.StreamResponse:
        """POST /api/login

        `{token}`. 200 `{name, read, append, answer, operate, manage, expires_at, csrf, auth}` and an HttpOnly cookie of this
        site; a page sends `csrf` as `X-CSRF-Token` with everything that changes something. Errors: invalid_request,
        invalid_body, unauthorized, too_many_requests, too_large, unsupported_media_type, request_timeout."""
        timeout_seconds = self._config.server.body_timeout_seconds
        given = await params.read_credentials(request, _LOGIN, timeout_seconds=timeout_seconds, max_bytes=_MAX_LOGIN_BYTES)
        if not self._authenticator.is_on:
            return self._told(principal_of(request))
        self._limits.check_login(request)
        try:
            cookie, principal = await self._authenticator.log_in(given.token.strip())
        except Unauthorized:
            self._limits.fail_login(request)
            raise
        seconds = int((principal.expires_at or 0) - self._authenticator.now())
        return self._told(principal, self._cookie(request, cookie, max(1, seconds)))

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """POST /api/logout

        200 `{success: true}`; the browser forgets the cookie, and no process on this file takes it any more, nor a ticket that
        was made with it. Errors: invalid_request, unsupported_media_type, too_many_requests, storage_full, unavailable."""
        params.require_type(request, params.JSON_TYPES)  # a form of another page must not log anybody out
        await self._authenticator.log_out(request)
        return json_response({"success": True}, headers=self._cookie(request, "", 0))

    async def session(self, request: web.Request) -> web.StreamResponse:
        """GET /api/session

        200 `{name, read, append, answer, operate, manage, expires_at, csrf, auth}` of whoever asks; `auth` is how clients are
        recognised here. Without good credentials `name` is null and nothing may be read. Errors: invalid_request."""
        try:
            return self._told(await self._authenticator.authenticate(request))
        except Unauthorized:
            return self._told(None)

    async def tickets(self, request: web.Request) -> web.StreamResponse:
        """POST /api/tickets

        `{streams: [name or pattern]}`, 1 to 64. 201 `{ticket, expires_at}`: `?ticket=` opens these streams for a client that
        cannot send headers; after `expires_at` it only resumes them, with a `Last-Event-ID`. Errors: invalid_request,
        invalid_body, too_large, forbidden, unsupported_media_type, request_timeout, too_many_requests."""
        given = await params.read_json(request, _TICKET, timeout_seconds=self._config.server.body_timeout_seconds)
        most = self._config.stream.max_streams_per_request
        if not 1 <= len(given.streams) <= most:
            raise InvalidBody(f"streams must be a list of 1 to {most} names or patterns", field="streams")
        selection = select(tuple(given.streams))
        streams = (*sorted(selection.names), *selection.patterns)
        ticket, expires_at = self._authenticator.issue_ticket(principal_of(request), streams)
        return json_response({"ticket": ticket, "expires_at": timestamp_of(expires_at)}, 201)

    def _told(self, principal: Principal | None, headers: dict[str, str] | None = None) -> JsonResponse:
        expires_at = principal.expires_at if principal is not None else None
        told = {
            "name": principal.name if principal is not None else None,
            **{verb: list(getattr(principal, verb)) if principal is not None else [] for verb in VERBS},
            "expires_at": timestamp_of(expires_at) if expires_at is not None else None,
            "csrf": principal.csrf if principal is not None else "",
            "auth": self._config.auth.mode,
        }
        return json_response(told, headers=headers)

    def _cookie(self, request: web.Request, value: str, seconds: int) -> dict[str, str]:
        secure = "; Secure" if self._clients.is_secure(request) else ""
        return {"Set-Cookie": f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"}
