"""Texts of a language model as they are written: one request, one answer in pieces, one attempt.

Callers decide what follows a failure. Only the waits for the model count against its time limits: a slow reader does not
make it late."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp

from server.config import LlmSection
from server.llm.chunks import CompletionChunk, read_chunk
from server.llm.failures import ModelFailed, refusal, spoken_errors
from towow.errors import TooLarge
from towow.sse_parser import Frame, SseParser

MAX_TEXT_BYTES = 1_048_576
MAX_FRAME_BYTES = 1_048_576
MAX_STREAM_BYTES = 64 * 1_048_576  # of one answer, with all that is around the text


def open_session() -> aiohttp.ClientSession:
    """A session for texts: a connection for each, because one that waited for a further text may be closed when it comes."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),  # how many are written at once is limited elsewhere
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    )


class TextStreams:
    """Texts from one address, at most `at_once` at the same time; others wait. Safe to use concurrently.

    `extra` goes into every request, for options that only this server knows."""

    def __init__(
        self, url: str, headers: Mapping[str, str], config: LlmSection, *, at_once: int, extra: Mapping[str, Any] | None = None
    ) -> None:
        self._url = url
        self._headers = {**headers, "Accept": "text/event-stream"}
        self._config = config
        self._extra = extra or {}
        self._room = asyncio.Semaphore(at_once)

    async def write(self, session: aiohttp.ClientSession, model: str, system: str, user: str) -> AsyncGenerator[str, None]:
        """The pieces of one text, none of them empty. Closing the generator closes the connection.

        Raises `ModelFailed`: what came before is then not the whole text. A wait for room is not limited in time."""
        body = {
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": self._config.generation_tokens,
            "stream": True,
            **self._extra,
        }
        async with self._room:
            with spoken_errors():
                deadline = asyncio.get_running_loop().time() + self._config.first_piece_timeout_seconds
                async with asyncio.timeout_at(deadline):
                    response = await session.post(self._url, json=body, headers=self._headers, allow_redirects=False)
                try:
                    if not 200 <= response.status < 300:
                        raise refusal(response)
                    if response.content_type != "text/event-stream":
                        raise ModelFailed("bad_answer")
                    async with contextlib.aclosing(self._pieces(_Chunks(response.content), deadline)) as pieces:
                        async for piece in pieces:
                            yield piece
                finally:
                    response.close()

    async def _pieces(self, parts: "_Chunks", deadline: float) -> AsyncGenerator[str, None]:
        """The pieces of the text up to its end."""
        clock = asyncio.get_running_loop().time
        late = "timeout"
        size, is_blank, is_whole = 0, True, False
        while not is_whole:
            try:
                async with asyncio.timeout_at(deadline):
                    part = await parts.next()
            except TimeoutError:
                raise ModelFailed(late, is_passing=True) from None
            if piece := part.content:
                size += len(piece.encode())
                if size > MAX_TEXT_BYTES:
                    raise ModelFailed("too_large")
                is_blank = is_blank and not piece.strip()
                yield piece
            is_whole = part.is_last
            quiet_until = clock() + self._config.stall_timeout_seconds
            if not is_blank or quiet_until > deadline:  # a frame without text takes nothing from the time of the first piece
                late, deadline = "stalled", quiet_until
        if is_blank:
            raise ModelFailed("empty_answer")


class _Chunks:
    """The frames of one answer, read from the connection on demand."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._parser = SseParser(max_frame_bytes=MAX_FRAME_BYTES)
        self._frames: list[Frame] = []  # read and not yet taken, the next one last
        self._bytes = 0

    async def next(self) -> CompletionChunk:
        """The next frame. Raises `ModelFailed` `broken` when the answer ended without its last frame."""
        while not self._frames:
            if not await self._read():
                raise ModelFailed("broken", is_passing=True)
        return read_chunk(self._frames.pop().data)

    async def _read(self) -> bool:
        """Take the bytes that have come, or wait for some; False at the end."""
        chunk = await self._content.readany()
        self._bytes += len(chunk)
        try:
            self._frames = [frame for frame in self._parser.feed(chunk) if frame.data.strip()][::-1]
        except TooLarge:
            raise ModelFailed("too_large") from None
        if self._bytes > MAX_STREAM_BYTES:
            raise ModelFailed("too_large")
        return bool(chunk)
