"""Cookies of pages: a cookie that is HttpOnly, of this site only and signed, and worth nothing for a change without the CSRF
token.

What a cookie says is signed, and what it may do is looked up again at every request, or with JWTs is in it. The server keeps a
list only of the logins that were ended before their time (`logins.py`)."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import hdrs, web

from server.auth.principal import VERBS, Principal, globs_of
from server.auth.signing_key import Signer
from server.auth.tokens import Tokens
from server.config import AuthSection
from towow.errors import Forbidden, TooLarge

COOKIE = "towow_session"
CSRF_HEADER = "X-CSRF-Token"
_AUDIENCE = "towow-session"
_MAX_COOKIE_CHARACTERS = 4_000  # beyond 4,096 with its name a browser drops it without a word
_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


class Cookies:
    """Signs cookies and reads them again. `tokens` is None where clients are recognised by JWTs."""

    def __init__(self, config: AuthSection, signer: Signer, clock: Callable[[], float], tokens: Tokens | None) -> None:
        self._audience = f"{_AUDIENCE} {config.mode}"  # a provider's names are not ours
        self._login_seconds = config.login_seconds
        self._clock = clock
        self._signer = signer
        self._tokens = tokens

    def log_in(self, principal: Principal) -> tuple[str, Principal]:
        """The value of a page's cookie, and who it stands for, with the CSRF token. Raises `TooLarge`."""
        now = self._clock()
        expires_at = min(now + self._login_seconds, principal.expires_at or float("inf"))
        principal = msgspec.structs.replace(principal, via="cookie", csrf=secrets.token_urlsafe(24), expires_at=expires_at)
        claims: dict[str, Any] = {"sub": principal.name, "exp": expires_at, "csrf": principal.csrf}
        if self._tokens is None:
            claims |= {"scopes": [f"{verb}:{glob}" for verb in VERBS for glob in getattr(principal, verb)]}
            claims |= {"actor": principal.actor} if principal.actor else {}
        elif (known := self._tokens.named(principal.name)) is not None:
            claims["mark"] = known[1]  # the scopes are looked up at every request, and whether the secret is the same
        cookie = self._signer.sign(claims, self._audience)
        if len(cookie) > _MAX_COOKIE_CHARACTERS:
            raise TooLarge("this token has too many scopes for a cookie; send it as Authorization: Bearer", field="token")
        return cookie, principal

    def read(self, cookie: str) -> Principal | None:
        """Who a cookie stands for; None when it is not good, or no longer."""
        claims = self._signer.read(cookie, self._audience)
        if claims is None or not claims.get("csrf"):
            return None
        name = claims["sub"]
        if self._tokens is None:
            principal = Principal(name, actor=claims.get("actor", ""), **globs_of(claims.get("scopes", ())))
        elif (known := self._tokens.named(name)) is not None and known[1] == claims.get("mark"):
            principal = known[0]
        else:
            return None
        login = hashlib.sha256(claims["csrf"].encode()).hexdigest()
        return msgspec.structs.replace(
            principal, expires_at=float(claims["exp"]), via="cookie", csrf=claims["csrf"], login=login
        )


def require_csrf(request: web.Request, principal: Principal) -> None:
    """Raise `Forbidden` for a request that changes something without the CSRF token of its cookie."""
    if request.method in _SAFE_METHODS:
        return
    given = request.headers.get(CSRF_HEADER, "")
    if not given.isascii() or not hmac.compare_digest(given, principal.csrf):
        raise Forbidden(f"a page has to send its CSRF token in {CSRF_HEADER}", field=CSRF_HEADER)
