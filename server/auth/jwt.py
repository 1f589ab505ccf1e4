"""JWTs of an identity provider: the keys they are signed with, and what of them counts.

Algorithms are those of the settings, never what a token says. `exp` and `aud` are required, `iss` when set; scopes are in
`scope` (separated by blanks) or `scopes` (a list). Keys come from a file or a URL; a URL is asked again when a token names a
key that is not known, at most twice a minute, and once an hour, so that a key that was taken back stops counting."""

import asyncio
import contextlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt
import structlog

from server.auth.principal import VERBS, Principal, globs_of
from server.config import JwtSection
from server.http.hosts import is_loopback
from towow.errors import StartupError, Unauthorized, Unavailable

_ASK_AGAIN_SECONDS = 30.0
_STALE_SECONDS = 3600.0
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 1_048_576
_SHORTEST_SECRET = 32  # bytes, of HS256
_SHORTEST_RSA_KEY = 2_048  # bits
_MAX_NAME_CHARACTERS = 128
_log = structlog.get_logger("towow.auth")


class JwtKeys:
    """Verifies tokens. Raises `StartupError` for settings that cannot verify any."""

    def __init__(self, config: JwtSection, clock: Callable[[], float], actor_claim: str = "sub") -> None:
        self._config = config
        self._actor_claim = actor_claim
        self._is_answered = True  # whether the URL of the keys answered when it was asked last
        self._clock = clock
        self._keys: dict[str | None, tuple[str, Any]] = {}  # by key id: algorithm, key
        self._asked_at = -math.inf
        self._asking: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        if not config.audience:
            raise StartupError("[jwt] audience is required", field="jwt.audience")
        if "HS256" in config.algorithms and (len(config.algorithms) > 1 or config.jwks):
            # A public key that is taken for a secret would let everybody sign.
            raise StartupError("[jwt] HS256 goes with secret_env alone", field="jwt.algorithms")
        if "HS256" in config.algorithms:
            self._keys[None] = ("HS256", secret_of(config))
        elif not config.jwks:
            raise StartupError("[jwt] jwks is required for RS256, ES256 and EdDSA", field="jwt.jwks")
        elif "://" in config.jwks and not _is_safe(config.jwks):
            raise StartupError("[jwt] jwks must be a file or an https:// URL", field="jwt.jwks")

    async def open(self) -> None:
        """Read the keys. Raises `StartupError` for a file without any; a URL that does not answer is asked again later."""
        if not self._config.jwks:
            return
        if "://" in self._config.jwks:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS))
            await self._ask()
            return
        try:
            raw = await asyncio.to_thread(Path(self._config.jwks).read_bytes)
            self._keys = _read_keys(raw, self._config.algorithms)
        except (OSError, ValueError) as error:
            raise StartupError(f"[jwt] jwks: cannot read the keys: {error}", field="jwt.jwks") from None
        if not self._keys:
            raise StartupError("[jwt] jwks has no key for these algorithms", field="jwt.jwks")

    async def close(self) -> None:
        """Close the connection to the URL."""
        if self._asking is not None:
            self._asking.cancel()
        if self._session is not None:
            await self._session.close()

    async def recognise(self, token: str) -> Principal:
        """Who a token belongs to. Raises `Unauthorized`, and `Unavailable` while the keys cannot be had."""
        try:
            return await self._recognise(token)
        except (jwt.PyJWTError, LookupError, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthorized("a valid token is needed") from None

    async def _recognise(self, token: str) -> Principal:
        key_id = None if "HS256" in self._config.algorithms else jwt.get_unverified_header(token).get("kid")
        if key_id not in self._keys or self._clock() - self._asked_at >= _STALE_SECONDS:
            await self._ask()
            if key_id not in self._keys and not self._is_answered:
                message = "the keys that tokens are verified with cannot be read at the moment; try again"
                raise Unavailable(message, retry_after_seconds=int(_ASK_AGAIN_SECONDS))
        algorithm, key = self._only_key() if key_id is None else self._keys[key_id]
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._config.audience,
            issuer=self._config.issuer or None,
            leeway=self._config.leeway_seconds,
            # Times are compared below, with the clock that everything else goes by.
            options={"require": ["exp", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        now, leeway = self._clock(), self._config.leeway_seconds
        expires_at, not_before = _seconds(claims["exp"]), _seconds(claims.get("nbf", 0))
        expires_at = min(expires_at, min(now, _seconds(claims.get("iat", now))) + self._config.max_age_seconds)
        if not expires_at + leeway > now or not not_before - leeway <= now:
            raise ValueError("not now")
        scopes = claims.get("scope", claims.get("scopes", ""))
        name, actor = _name(claims.get("sub")), _name(claims.get(self._actor_claim))
        globs = globs_of(_known(scopes.split() if isinstance(scopes, str) else scopes), name)
        return Principal(name, expires_at=expires_at, via="jwt", actor="" if actor == name else actor, **globs)

    def _only_key(self) -> tuple[str, Any]:
        """The key for a token that names none, when there is just one."""
        if len(self._keys) != 1:
            raise ValueError("unknown key")
        return next(iter(self._keys.values()))

    async def _ask(self) -> None:
        """Read the keys from the URL, unless that was a moment ago; a failure leaves those that are known.

        Whoever comes meanwhile waits for the same answer, and a client that leaves does not take it from the others."""
        if self._session is None:
            return
        if self._asking is None or self._asking.done():
            now = self._clock()
            if 0 <= now - self._asked_at < _ASK_AGAIN_SECONDS:
                return
            self._asked_at = now
            self._asking = asyncio.create_task(self._fetch(self._session), name="jwks")
        await asyncio.shield(self._asking)

    async def _fetch(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(self._config.jwks, allow_redirects=False) as answer:
                answer.raise_for_status()
                body = bytearray()
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > _MAX_BYTES:
                        raise ValueError("too long")  # noqa: TRY301 - as any other answer that is none
            self._keys = _read_keys(bytes(body), self._config.algorithms) or self._keys
            self._is_answered = True
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._is_answered = False
            _log.warning("keys_not_read", reason=type(error).__name__)


def secret_of(config: JwtSection) -> bytes:
    """The secret of HS256. Raises `StartupError` when it is missing or short."""
    secret = os.environ.get(config.secret_env, "").encode("utf-8", "surrogateescape")
    if len(secret) < _SHORTEST_SECRET:
        raise StartupError(
            f"[jwt] secret_env must name a variable with {_SHORTEST_SECRET} bytes or more", field="jwt.secret_env"
        )
    return secret


def _known(scopes: Any) -> list[str]:
    """The scopes that are meant for this server; a provider's tokens hold others, too."""
    given = scopes if isinstance(scopes, list) else []
    return [scope for scope in given if isinstance(scope, str) and scope.partition(":")[0] in VERBS]


def _read_keys(raw: bytes, algorithms: tuple[str, ...]) -> dict[str | None, tuple[str, Any]]:
    """The public keys of a JWKS that fit the algorithms, by key id; others are left out. Raises `ValueError`."""
    found: dict[str | None, tuple[str, Any]] = {}
    try:
        document = json.loads(raw)
    except RecursionError:
        raise ValueError("too deep") from None
    items = document.get("keys") if isinstance(document, dict) else None
    for item in items if isinstance(items, list) else ():
        algorithm = _algorithm_of(item)
        if algorithm not in algorithms or "d" in item:
            continue
        key_id = item.get("kid")
        is_meant = item.get("use", "sig") == "sig" and item.get("alg", algorithm) == algorithm
        if is_meant and (key_id is None or isinstance(key_id, str)):
            with contextlib.suppress(jwt.PyJWTError, ValueError, TypeError):
                key = jwt.PyJWK(item, algorithm).key
                if algorithm != "RS256" or key.key_size >= _SHORTEST_RSA_KEY:
                    found[key_id] = (algorithm, key)
    return found


def _algorithm_of(item: Any) -> str:
    """The algorithm that a key of a JWKS is for; empty for any other."""
    if not isinstance(item, dict):
        return ""
    curve = {"EC": "P-256", "OKP": "Ed25519"}.get(str(item.get("kty")))
    found = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}.get(str(item.get("kty")), "")
    return found if curve is None or item.get("crv") == curve else ""


def _name(value: Any) -> str:
    """A name in a token: 1 to 128 printable characters. Raises `ValueError`."""
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_NAME_CHARACTERS or not value.isprintable():
        raise ValueError("no name")
    return value


def _seconds(value: Any) -> float:
    """A time in a token. Raises `ValueError` for anything but a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a time")  # noqa: TRY004 - what was sent, not how we call
    return float(value)


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can put in a key of his own."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
