"""Authentication: from a request to who asks, by bearer token, ticket or cookie, for every route and transport.

A bearer token is one of `[[auth.tokens]]` (`tokens.py`) or a JWT (`jwt.py`). A ticket (`tickets.py`) is for clients that
cannot send headers, the cookie (`cookies.py`) for pages. What is refused never says why, and no credential reaches a log line
or an error."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from aiohttp import hdrs, web

from server import program
from server.auth.cookies import COOKIE, Cookies, require_csrf
from server.auth.jwt import JwtKeys
from server.auth.logins import Logins
from server.auth.principal import EVERYBODY, Principal
from server.auth.signing_key import Signer
from server.auth.tickets import Tickets
from server.auth.tokens import Tokens
from server.config import AuthSection
from towow.errors import StartupError, Unauthorized

_MAX_CREDENTIAL_CHARACTERS = 8_192
_CLIENT_CURSORS = ("lastEventId", "lastEventID")  # what libraries that stand in for `EventSource` add to their URL
# Routes without a secret in them: pages that show a login, and whether the server lives.
PUBLIC_ROUTES = frozenset(
    {
        "/",
        "/favicon.ico",
        "/{page}.html",
        "/static/{name}",
        "/health",
        "/health/live",
        "/health/ready",
        "/api",
        "/api/events/health",
        "/sse/health",
        "/api/login",
        "/api/logout",
        "/api/session",
    }
)
PRINCIPAL = web.RequestKey("principal", Principal)
# The client may not read what it changes.
IS_BLIND = web.RequestKey("is_blind", bool)


def principal_of(request: web.Request) -> Principal:
    """Who asks; everybody where nobody is asked."""
    principal: Principal = request.get(PRINCIPAL, EVERYBODY)
    return principal


def require_read(request: web.Request, *streams: str) -> None:
    """Raise `Forbidden` unless all of the streams and patterns may be read."""
    principal_of(request).require_read(streams)


def require_append(request: web.Request, *streams: str) -> None:
    """Raise `Forbidden` unless all of the streams and patterns may be appended to."""
    require(request, "append", *streams)


def require(request: web.Request, verb: str, *streams: str) -> None:
    """Raise `Forbidden` unless a verb may be done to all of the streams and patterns.

    What may be changed and not be read is noted: later refusals then say nothing of what is there."""
    principal_of(request).require(verb, streams)
    _note_blindness(request, streams)


def require_any(request: web.Request, verbs: Sequence[str], stream: str) -> None:
    """Raise `Forbidden` unless one of the verbs may be done to the stream; it names the last."""
    principal = principal_of(request)
    require(request, next((verb for verb in verbs if principal.may(verb, stream)), verbs[-1]), stream)


def require_answer(request: web.Request, stream: str) -> None:
    """Raise `Forbidden` unless permissions of the stream may be answered."""
    require(request, "answer", stream)


def require_to_operate(request: web.Request, session: str, operator_stream: str) -> None:
    """Raise `Forbidden` unless a session may be operated, as this operator.

    Scopes of earlier versions count, which appended to both the session and the operator."""
    principal = principal_of(request)
    is_named = operator_stream.partition(":")[2] == principal.name or principal.may("operate", operator_stream)
    is_operator = principal.may_append(operator_stream)
    if not (principal.may("operate", session) and (is_named or is_operator)) and not (
        principal.may_append(session) and is_operator
    ):
        principal.require("operate", (session, operator_stream))
    _note_blindness(request, (session,))


def require_managed(request: web.Request, stream: str, owners: Iterable[str | None]) -> None:
    """Raise `Forbidden` unless the client is one of the owners of what it ends (None is nobody), or manages the stream."""
    principal = principal_of(request)
    if principal.is_asked and not {principal.acts_as, principal.name} & set(owners):
        require(request, "manage", stream)


def _note_blindness(request: web.Request, streams: Iterable[str]) -> None:
    if not all(map(principal_of(request).may_read, streams)):
        request[IS_BLIND] = True


class Authenticator:
    """Recognises clients. An async context manager: entering reads the key that cookies and tickets are signed with, beside the
    database. `logins` knows those that have been ended; None where nobody logs in."""

    def __init__(
        self,
        config: AuthSection,
        database: str,
        clock: Callable[[], float],
        jwt_keys: JwtKeys | None = None,
        logins: Logins | None = None,
    ) -> None:
        self._mode = config.mode
        self._allow_query_token = config.allow_query_token
        self._key_file = Path(f"{database}.key")
        self._clock = clock
        self._tokens = Tokens(config.tokens)
        self._jwt = jwt_keys
        tokens = self._tokens if jwt_keys is None else None
        self._signer = Signer(clock)
        self._tickets = Tickets(config, self._signer, clock, tokens)
        self._cookies = Cookies(config, self._signer, clock, tokens)
        self._logins = logins
        if config.mode == "token" and not self._tokens:
            hint = f"`{program()} token new` makes one"
            raise StartupError(f'[auth] mode is "token" and there are no [[auth.tokens]]; {hint}')

    @property
    def is_on(self) -> bool:
        """Whether anybody is asked who he is."""
        return self._mode != "off"

    async def __aenter__(self) -> "Authenticator":
        """Read or make the signing key, and read the keys of JWTs. Raises `StartupError`."""
        if self.is_on:
            self._signer.open(self._key_file)
        if self._jwt is not None:
            await self._jwt.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._jwt is not None:
            await self._jwt.close()

    def now(self) -> float:
        """The time that expiries are compared with, in seconds since 1970."""
        return self._clock()

    async def authenticate(self, request: web.Request) -> Principal:
        """Who asks. Raises `Unauthorized`, or `Forbidden` for a page's post without its CSRF token."""
        if not self.is_on:
            return EVERYBODY
        credential = request.headers.get(hdrs.AUTHORIZATION)
        if credential is not None:
            scheme, _, token = credential.partition(" ")
            if scheme.lower() != "bearer":
                raise _refused()
            return await self.recognise(token.strip())
        if "ticket" in request.query:
            if request.method != hdrs.METH_GET:  # it reads; above all it makes no further tickets
                raise _refused()
            tickets = request.query.getall("ticket")
            ticket = tickets[0] if len(tickets) == 1 else ""
            return await self._current(self._tickets.read(ticket, is_resuming=_is_resuming(request)))
        if COOKIE in request.cookies:
            principal = await self._current(self._read_cookie(request))
            require_csrf(request, principal)
            return principal
        if self._allow_query_token and "token" in request.query:
            return await self.recognise(request.query["token"])
        raise _refused()

    @staticmethod
    def is_attempt(request: web.Request) -> bool:
        """Whether a request has a credential that could be guessed."""
        return hdrs.AUTHORIZATION in request.headers or "token" in request.query or "ticket" in request.query

    async def recognise(self, token: str) -> Principal:
        """Who a bearer token belongs to. Raises `Unauthorized`."""
        if not _is_plausible(token):
            raise _refused()
        if self._jwt is not None:
            return await self._jwt.recognise(token)
        return _known(self._tokens.recognise(token))

    def issue_ticket(self, principal: Principal, streams: tuple[str, ...]) -> tuple[str, float]:
        """A ticket that lets its bearer read these streams, and until when it has to be used first.

        Raises `Forbidden` beyond the principal's scopes."""
        return self._tickets.issue(principal, streams)

    async def log_in(self, token: str) -> tuple[str, Principal]:
        """The value of a page's cookie, and who it stands for, with the CSRF token. Raises `Unauthorized` and `TooLarge`."""
        return self._cookies.log_in(await self.recognise(token))

    async def log_out(self, request: web.Request) -> None:
        """End the login of a request's cookie, at every process on this file. Raises `StorageFull` and `Unavailable`."""
        principal = self._read_cookie(request) if self.is_on else None
        if principal is not None and self._logins is not None:
            await self._logins.end(principal.login, principal.expires_at or 0.0)

    def _read_cookie(self, request: web.Request) -> Principal | None:
        cookie = request.cookies.get(COOKIE, "")
        return self._cookies.read(cookie) if _is_plausible(cookie) else None

    async def _current(self, principal: Principal | None) -> Principal:
        """A principal whose login, if it comes from one, has not been ended."""
        if principal is None:
            raise _refused()
        if principal.login and self._logins is not None and await self._logins.has_ended(principal.login):
            raise _refused()
        return principal


def is_public(request: web.Request) -> bool:
    """Whether a request needs no credentials: its route has nothing to protect, or there is no such route."""
    resource = request.match_info.route.resource
    return resource is None or resource.canonical in PUBLIC_ROUTES


def _is_resuming(request: web.Request) -> bool:
    """Whether a client that was connected before has added its cursor to the request."""
    return bool(request.headers.get("Last-Event-ID")) or any(request.query.get(name) for name in _CLIENT_CURSORS)


def _is_plausible(credential: str) -> bool:
    return 0 < len(credential) <= _MAX_CREDENTIAL_CHARACTERS and credential.isascii()


def _known(principal: Principal | None) -> Principal:
    if principal is None:
        raise _refused()
    return principal


def _refused() -> Unauthorized:
    return Unauthorized("a valid token is needed: Authorization: Bearer …, a ticket, or a login")
