"""Tickets: what a client that cannot send headers puts into a URL. Each is signed, and bound to its streams.

The server keeps no list of them, so each process on a file takes those of the others, and a restart ends none. A ticket opens
streams for a minute; after that it only resumes them, with the cursor that an `EventSource` sends by itself, while what it was
made with counts."""

import secrets
from collections.abc import Callable
from typing import Any

from server.auth.principal import Principal
from server.auth.signing_key import Signer
from server.auth.tokens import Tokens
from server.config import AuthSection

_MAX_TICKET_CHARACTERS = 16_000  # 64 of the longest names are fewer


class Tickets:
    """Signs tickets and reads them again. `tokens` is None where clients are recognised by JWTs."""

    def __init__(self, config: AuthSection, signer: Signer, clock: Callable[[], float], tokens: Tokens | None) -> None:
        self._audience = f"towow-ticket {config.mode}"
        self._signer = signer
        self._first_seconds = config.ticket_seconds
        self._resume_seconds = config.ticket_resume_seconds
        self._clock = clock
        self._tokens = tokens

    def issue(self, principal: Principal, streams: tuple[str, ...]) -> tuple[str, float]:
        """A ticket that lets its bearer read these streams, and until when it has to be used first.

        Raises `Forbidden` beyond the principal's scopes."""
        principal.require_read(streams)
        now = self._clock()
        own_end = principal.expires_at or float("inf")
        claims: dict[str, Any] = {
            "sub": principal.name,
            "streams": list(streams),
            "first": min(now + self._first_seconds, own_end),
            "exp": min(now + self._resume_seconds, own_end),
            "jti": secrets.token_urlsafe(9),
        }
        if principal.expires_at is not None:
            claims["until"] = principal.expires_at
        if principal.actor:
            claims["actor"] = principal.actor
        if principal.login:
            claims["login"] = principal.login
        if self._tokens is not None and (known := self._tokens.named(principal.name)) is not None:
            claims["mark"] = known[1]
        return self._signer.sign(claims, self._audience), claims["first"]

    def read(self, ticket: str, *, is_resuming: bool) -> Principal | None:
        """Whom a ticket lets in; None when it is not good. `is_resuming`: it comes with a cursor that a client added."""
        claims = self._signer.read(ticket, self._audience) if len(ticket) <= _MAX_TICKET_CHARACTERS else None
        if claims is None or not (is_resuming or self._clock() < claims["first"]):
            return None
        if self._tokens is not None:  # the token may be another one now, or may read less
            known = self._tokens.named(claims["sub"])
            if known is None or known[1] != claims.get("mark") or not all(map(known[0].may_read, claims["streams"])):
                return None
        return Principal(
            claims["sub"],
            read=tuple(claims["streams"]),
            expires_at=claims.get("until"),
            via="ticket",
            login=claims.get("login", ""),
            actor=claims.get("actor", ""),
        )
