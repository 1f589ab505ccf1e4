"""
Authentication: from a request to who asks, by bearer token, ticket or cookie, for every route and transport.

A bearer token is one of `[[auth.tokens]]`, of which only the SHA-256 is kept and all are compared, in constant time, or a JWT
(`jwt_keys.py`). A ticket (`POST /api/tickets`) is for clients that cannot send headers; it is in a URL, so it is good once, for
its streams, and for a minute. The cookie (`POST /api/login`) is for pages: HttpOnly, of this site only, signed, and worth
nothing for a change without the CSRF token. What is refused never says why, and no credential reaches a log line or an error.
"""

import contextlib
import hashlib
import hmac
import math
import os
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import msgspec
from aiohttp import hdrs, web

from server.config import AuthSection, TokenSection
from server.errors import Forbidden, StartupError, TooLarge, TooManyRequests, Unauthorized
from server.jwt_keys import JwtKeys
from server.principal import EVERYBODY, Principal, read_scopes

COOKIE = "towow_session"
CSRF_HEADER = "X-CSRF-Token"
_AUDIENCE = "towow-session"
_MAX_CREDENTIAL_CHARACTERS = 8_192
_MAX_COOKIE_CHARACTERS = 4_000  # beyond 4,096 with its name a browser drops it without a word
_MAX_TICKETS = 10_000
_MAX_TICKETS_EACH = 1_000  # of one client, so that none can use up all of them
_SHORTEST_TOKEN = 16  # characters
_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
# Routes without a secret in them: pages that show a login, and whether the server lives.
PUBLIC_ROUTES = frozenset(
    {
        "/",
        "/favicon.ico",
        "/{page}.html",
        "/static/{name}",
        "/health",
        "/api",
        "/api/events/health",
        "/api/login",
        "/api/logout",
        "/api/session",
    }
)
PRINCIPAL = web.RequestKey("principal", Principal)


def principal_of(request: web.Request) -> Principal:
    """
    Who asks; everybody where nobody is asked.
    """
    principal: Principal = request.get(PRINCIPAL, EVERYBODY)
    return principal


def require_read(request: web.Request, *streams: str) -> None:
    """
    Raise `Forbidden` unless all of the streams and patterns may be read.
    """
    principal_of(request).require_read(streams)


def require_append(request: web.Request, *streams: str) -> None:
    """
    Raise `Forbidden` unless all of the streams and patterns may be appended to.
    """
    principal_of(request).require_append(streams)


class Authenticator:
    """
    Recognises clients. An async context manager: entering reads the key that cookies are signed with, beside the database.
    """

    def __init__(self, config: AuthSection, database: str, clock: Callable[[], float], jwt_keys: JwtKeys | None = None) -> None:
        self._config = msgspec.structs.replace(config, tokens=())  # secrets are not kept
        self._key_file = Path(f"{database}.key")
        self._clock = clock
        self._key = b""
        self._tokens = [(_digest_of(token), _principal_of(token.name, token.scopes)) for token in config.tokens]
        self._by_name = {principal.name: (principal, _mark_of(digest)) for digest, principal in self._tokens}
        self._jwt = jwt_keys
        self._tickets: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()  # with the time until which each is good
        self._held: Counter[str] = Counter()  # tickets of a client that are not used yet
        if config.mode == "token" and not self._tokens:
            raise StartupError('[auth] mode is "token" and there are no [[auth.tokens]]; `python run.py token new` makes one')
        if len(self._by_name) < len(self._tokens):
            raise StartupError("[[auth.tokens]]: every name may be given once", field="auth.tokens")
        if len(dict(self._tokens)) < len(self._tokens):
            raise StartupError("[[auth.tokens]]: every token needs a secret of its own", field="auth.tokens")

    @property
    def is_on(self) -> bool:
        """
        Whether anybody is asked who he is.
        """
        return self._config.mode != "off"

    async def __aenter__(self) -> "Authenticator":
        """
        Read or make the signing key, and read the keys of JWTs. Raises `StartupError`.
        """
        if self.is_on:
            self._key = _read_key(self._key_file)
        if self._jwt is not None:
            await self._jwt.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._jwt is not None:
            await self._jwt.close()

    def now(self) -> float:
        """
        The time that expiries are compared with, in seconds since 1970.
        """
        return self._clock()

    async def authenticate(self, request: web.Request) -> Principal:
        """
        Who asks. Raises `Unauthorized`, or `Forbidden` for a page's post without its CSRF token.
        """
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
            return self._redeem(request.query.getall("ticket"))
        cookie = request.cookies.get(COOKIE)
        if cookie is not None:
            return self._page_of(request, cookie)
        if self._config.allow_query_token and "token" in request.query:
            return await self.recognise(request.query["token"])
        raise _refused()

    async def recognise(self, token: str) -> Principal:
        """
        Who a bearer token belongs to. Raises `Unauthorized`.
        """
        if not token or len(token) > _MAX_CREDENTIAL_CHARACTERS or not token.isascii():
            raise _refused()
        if self._jwt is not None:
            return await self._jwt.recognise(token)
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, principal in self._tokens:  # all of them: the time must not say which
            if hmac.compare_digest(known, digest):
                found = principal
        if found is None:
            raise _refused()
        return found

    # Tickets.

    def issue_ticket(self, principal: Principal, streams: tuple[str, ...]) -> tuple[str, float]:
        """
        A ticket that lets its bearer read these streams, once, and when it expires.

        Raises `Forbidden` beyond his scopes, and `TooManyRequests` when he does not use those that he has.
        """
        principal.require_read(streams)
        now = self._clock()
        while self._tickets:  # in the order in which they end
            key, (_, ends_at) = next(iter(self._tickets.items()))
            if ends_at > now:
                break
            self._take_ticket(key)
        if self._held[principal.name] >= _MAX_TICKETS_EACH or len(self._tickets) >= _MAX_TICKETS:
            seconds = math.ceil(self._config.ticket_seconds)
            raise TooManyRequests("too many tickets that nobody has used yet", retry_after_seconds=seconds)
        ticket = secrets.token_urlsafe(24)
        good_until = now + self._config.ticket_seconds
        bearer = Principal(principal.name, read=streams, expires_at=principal.expires_at, via="ticket")
        self._tickets[hashlib.sha256(ticket.encode()).digest()] = (bearer, good_until)
        self._held[principal.name] += 1
        return ticket, good_until

    def _redeem(self, tickets: list[str]) -> Principal:
        if len(tickets) != 1 or len(tickets[0]) > 64 or not tickets[0].isascii():
            raise _refused()
        found = self._take_ticket(hashlib.sha256(tickets[0].encode()).digest())
        if found is None or found[1] <= self._clock():
            raise _refused()
        return found[0]

    def _take_ticket(self, key: bytes) -> tuple[Principal, float] | None:
        found = self._tickets.pop(key, None)
        if found is not None:
            self._held[found[0].name] -= 1
            if not self._held[found[0].name]:
                del self._held[found[0].name]
        return found

    # Pages.

    async def log_in(self, token: str) -> tuple[str, Principal]:
        """
        The value of a page's cookie, and who it stands for, with the CSRF token. Raises `Unauthorized` and `TooLarge`.
        """
        principal = await self.recognise(token)
        now = self._clock()
        expires_at = min(now + self._config.login_seconds, principal.expires_at or float("inf"))
        principal = msgspec.structs.replace(principal, via="cookie", csrf=secrets.token_urlsafe(24), expires_at=expires_at)
        claims: dict[str, Any] = {
            "aud": f"{_AUDIENCE} {self._config.mode}",  # a provider's names are not ours
            "sub": principal.name,
            "exp": int(expires_at),
            "csrf": principal.csrf,
        }
        if self._jwt is not None:
            claims |= {"read": list(principal.read), "append": list(principal.append)}
        else:  # the scopes of [[auth.tokens]] are looked up again at every request, and whether the secret is the same
            claims["mark"] = self._by_name[principal.name][1]
        cookie = jwt.encode(claims, self._key, algorithm="HS256")
        if len(cookie) > _MAX_COOKIE_CHARACTERS:
            raise TooLarge("this token has too many scopes for a cookie; send it as Authorization: Bearer", field="token")
        return cookie, principal

    def _page_of(self, request: web.Request, cookie: str) -> Principal:
        try:
            if len(cookie) > _MAX_CREDENTIAL_CHARACTERS or not cookie.isascii():
                raise _refused()
            claims = jwt.decode(
                cookie,
                self._key,
                algorithms=["HS256"],
                audience=f"{_AUDIENCE} {self._config.mode}",
                options={"require": ["exp", "sub", "csrf"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError):
            raise _refused() from None
        if claims["exp"] <= self._clock():
            raise _refused()
        name, csrf, expires_at = claims["sub"], claims["csrf"], float(claims["exp"])
        if self._jwt is not None:
            read, append = tuple(claims.get("read", ())), tuple(claims.get("append", ()))
        elif (known := self._by_name.get(name)) is not None and known[1] == claims.get("mark"):
            read, append = known[0].read, known[0].append
        else:
            raise _refused()
        if request.method not in _SAFE_METHODS:
            given = request.headers.get(CSRF_HEADER, "")
            if not given.isascii() or not hmac.compare_digest(given, csrf):
                raise Forbidden(f"a page has to send its CSRF token in {CSRF_HEADER}", field=CSRF_HEADER)
        return Principal(name, read, append, expires_at, via="cookie", csrf=csrf)


def is_public(request: web.Request) -> bool:
    """
    Whether a request needs no credentials: its route has nothing to protect, or there is no such route.
    """
    resource = request.match_info.route.resource
    return resource is None or resource.canonical in PUBLIC_ROUTES


def _refused() -> Unauthorized:
    return Unauthorized("a valid token is needed: Authorization: Bearer …, a ticket, or a login")


def _principal_of(name: str, scopes: tuple[str, ...]) -> Principal:
    try:
        read, append = read_scopes(scopes)
    except ValueError as error:
        raise StartupError(f"[[auth.tokens]] {name}: {error}", field="auth.tokens") from None
    return Principal(name, read, append, via="token")


def _digest_of(token: TokenSection) -> bytes:
    given = [value for value in (token.token, token.token_sha256, token.token_env) if value is not None]
    if len(given) != 1:
        raise StartupError(
            f"[[auth.tokens]] {token.name}: give exactly one of token, token_sha256 and token_env", field="auth.tokens"
        )
    if token.token_sha256 is not None:
        return bytes.fromhex(token.token_sha256)
    secret = token.token if token.token is not None else os.environ.get(token.token_env or "", "")
    if len(secret) < _SHORTEST_TOKEN or not secret.isascii() or not secret.isprintable():
        where = f"the environment variable {token.token_env}" if token.token_env is not None else "token"
        raise StartupError(
            f"[[auth.tokens]] {token.name}: {where} must hold {_SHORTEST_TOKEN} or more printable ASCII characters",
            field="auth.tokens",
        )
    return hashlib.sha256(secret.encode()).digest()


def _mark_of(digest: bytes) -> str:
    """
    What tells a secret from the one before it under the same name, and nothing about either.
    """
    return hashlib.sha256(b"towow session of " + digest).hexdigest()[:16]


def _read_key(file: Path) -> bytes:
    """
    The signing key: 32 bytes that only the owner can read; made at the first start, by whichever process is first.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _make_key(file)
        with file.open(encoding="ascii") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            key = bytes.fromhex(opened.read(1_000).strip())
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot read or make the key file {file}: {error}") from None
    if os.name == "posix" and mode & 0o077:
        raise StartupError(f"the key file {file} is open to other users, who could log in as anybody; chmod 600 {file}")
    if len(key) != 32:
        raise StartupError(f"the key file {file} is damaged; remove it, and every page has to log in again")
    return key


def _make_key(file: Path) -> None:
    """
    Write a key under another name first: a process that starts at the same moment sees a whole file or none.
    """
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as written:
            written.write(secrets.token_bytes(32).hex())
            written.flush()
            os.fsync(written.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
