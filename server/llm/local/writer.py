"""Texts of the model on this machine: its address, the key to it, and questions that fit into its window."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import aiohttp
import msgspec

from server.config import LlmSection
from server.llm.failures import ModelFailed, refusal, spoken_errors
from server.llm.text_stream import TextStreams

# Of one text: its question and its answer. One idle core reads some 200 tokens a second, and the questions of four agents are
# read one after the other: with more tokens the last one would wait for minutes.
CONTEXT_TOKENS = 1_536

_TEMPLATE_TOKENS = 64  # around system and user
_LEFT_OUT = "\n[…]\n"
_TRIES = 8


class _Tokens(msgspec.Struct):
    tokens: list[int]


_decode = msgspec.json.Decoder(_Tokens).decode


class Engine:
    """A running model: its address, its key, and the number of texts that it writes at once."""

    def __init__(self, session: aiohttp.ClientSession, address: str, key: str, config: LlmSection, *, slots: int) -> None:
        self._session = session
        self._address = address
        self._headers = {"Authorization": f"Bearer {key}"}
        # It reports its progress while it reads, which is a sign of life, but not while it reads for another agent.
        patient = max(config.first_piece_timeout_seconds, config.stall_timeout_seconds)
        self._patient_seconds = patient
        config = msgspec.structs.replace(config, stall_timeout_seconds=patient)
        url, extra = f"{address}/v1/chat/completions", {"return_progress": True}
        self._texts = TextStreams(url, self._headers, config, at_once=slots, extra=extra)
        self._room_tokens = CONTEXT_TOKENS - min(config.generation_tokens, CONTEXT_TOKENS // 2) - _TEMPLATE_TOKENS

    async def fit(self, system: str, user: str) -> str:
        """The user's message, without its middle where it is too long; a token has a byte at least, so that most need no
        count."""
        if len(system.encode()) + len(user.encode()) <= self._room_tokens:
            return user
        with spoken_errors():
            async with asyncio.timeout(self._patient_seconds):
                return await self._shortened(system, user)

    async def _shortened(self, system: str, user: str) -> str:
        """The same by counting."""
        room = self._room_tokens - await self._count(system)
        for _ in range(_TRIES):
            tokens = await self._count(user)
            if tokens <= room:
                return user
            kept = max(0, int(len(user) * max(0, room) / tokens * 0.95) - len(_LEFT_OUT))
            user = f"{user[: kept - kept // 2]}{_LEFT_OUT}{user[len(user) - kept // 2 :]}"
        raise ModelFailed("too_large")

    async def _count(self, text: str) -> int:
        async with self._session.post(f"{self._address}/tokenize", json={"content": text}, headers=self._headers) as response:
            if response.status != 200:
                raise refusal(response)
            return len(_decode(await response.read()).tokens)

    def write(self, model: str, system: str, user: str) -> AsyncGenerator[str, None]:
        """The pieces of one text."""
        return self._texts.write(self._session, model, system, user)


class LocalWriter:
    """A `TextSource` (see `provider.py`) that waits for the engine while it is starting."""

    is_degraded = False

    def __init__(self, name: str, engine: Callable[[], Awaitable[Engine]]) -> None:
        self.name = name
        self._engine = engine

    async def stream(self, system: str, user: str) -> AsyncGenerator[str, None]:
        """One attempt to write a text, piece by piece."""
        engine = await self._engine()
        fitting = await engine.fit(system, user)
        async with contextlib.aclosing(engine.write(self.name, system, fitting)) as pieces:
            async for piece in pieces:
                yield piece
