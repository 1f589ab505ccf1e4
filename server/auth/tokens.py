"""The bearer tokens of `[[auth.tokens]]`: only their SHA-256 is kept, and all are compared, in constant time."""

import hashlib
import hmac
import os
from collections.abc import Iterable

from server.auth.principal import Principal, globs_of
from server.config import TokenSection
from towow.errors import StartupError

_SHORTEST_TOKEN = 16  # characters


class Tokens:
    """Who has which token. Raises `StartupError` for settings that recognise somebody twice, or nobody."""

    def __init__(self, tokens: Iterable[TokenSection]) -> None:
        self._tokens = [(_digest_of(token), _principal_of(token.name, token.scopes)) for token in tokens]
        self._by_name = {principal.name: (principal, _mark_of(digest)) for digest, principal in self._tokens}
        if len(self._by_name) < len(self._tokens):
            raise StartupError("[[auth.tokens]]: every name may be given once", field="auth.tokens")
        if len(dict(self._tokens)) < len(self._tokens):
            raise StartupError("[[auth.tokens]]: every token needs a secret of its own", field="auth.tokens")

    def __len__(self) -> int:
        return len(self._tokens)

    def recognise(self, token: str) -> Principal | None:
        """Who a token belongs to, if to anybody."""
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, principal in self._tokens:  # all of them: the time must not say which
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    def named(self, name: str) -> tuple[Principal, str] | None:
        """Who has this name, and what tells his secret from the one before it, and nothing about either."""
        return self._by_name.get(name)


def _principal_of(name: str, scopes: tuple[str, ...]) -> Principal:
    try:
        globs = globs_of(scopes, name)
    except ValueError as error:
        raise StartupError(f"[[auth.tokens]] {name}: {error}", field="auth.tokens") from None
    return Principal(name, via="token", **globs)


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
    return hashlib.sha256(b"towow session of " + digest).hexdigest()[:16]
