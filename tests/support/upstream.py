"""A real HTTP server with the streaming half of the OpenAI-compatible API, which answers every request as the test says.

`when("insight", refuses(503), writes("Hello"))` answers requests that mention the word: first with a 503, then, and from then
on, with the text. `otherwise(…)` is for all the others. A behaviour is a coroutine function of the request; those below are
ready to use, and a test may bring its own."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CursorRequest(NamedTuple):
    """One request as it came: its headers, its JSON body, and the time of the event loop."""

    headers: Any
    body: dict[str, Any]
    at: float

    @property
    def text(self) -> str:
        """All that was said to the model."""
        return "\n".join(message["content"] for message in self.body["messages"])


class Upstream:
    """The server. Use as an async context manager; `url` is for `[llm] base_url`.

    `asked` are the requests so far, `open` how many are being answered, `most_open` the most that ever were, and `left` how
    many clients closed the connection before their answer was whole."""

    def __init__(self) -> None:
        self.asked: list[CursorRequest] = []
        self.open = self.most_open = self.left = 0
        self.url = ""
        self._rules: list[tuple[str, list[Behaviour]]] = []
        self._rest: list[Behaviour] = [writes("Hello there.")]
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Upstream":
        """Listen on a free port."""
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Drop whoever is still there."""
        await self._runner.cleanup()

    def when(self, mentioned: str, *behaviours: Behaviour) -> None:
        """Answer requests that mention this text, one behaviour for each, the last one for all that follow."""
        self._rules = [rule for rule in self._rules if rule[0] != mentioned]
        self._rules.append((mentioned, list(behaviours)))

    def otherwise(self, *behaviours: Behaviour) -> None:
        """The same for requests that no rule is for."""
        self._rest = list(behaviours)

    def asked_about(self, mentioned: str) -> list[CursorRequest]:
        """The requests so far that mention this text."""
        return [asked for asked in self.asked if mentioned in asked.text]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = CursorRequest(request.headers.copy(), await request.json(), asyncio.get_running_loop().time())
        self.asked.append(asked)
        behaviours = next((found for mentioned, found in self._rules if mentioned in asked.text), self._rest)
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            return await behaviour(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            raise
        finally:
            self.open -= 1


# What a server may say, as bytes.


def frame(value: object) -> bytes:
    """One block of the stream."""
    return f"data: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n\n".encode()


def delta(content: str | None = None, *, finish_reason: str | None = None, **more: Any) -> bytes:
    """One piece of text as the API frames it."""
    said = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": said | more, "finish_reason": finish_reason}
    return frame({"id": "c-1", "object": "chat.completion.chunk", "model": "small", "choices": [choice]})


OPENING = delta(role="assistant", content="")
STOP = delta(finish_reason="stop")
DONE = frame("[DONE]")


def pieces_of(text: str) -> list[str]:
    """A text as a model would send it: word by word, with the spaces before the words."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


# Behaviours.


def sends(*chunks: bytes, rate: float = 0, first_after: float = 0, breaks: bool = False, stalls: bool = False) -> Behaviour:
    """Send these bytes with status 200, chunk by chunk: `rate` a second (0: at once), the first after so many seconds.

    Then end the answer, or break off in the middle, or say nothing more and keep the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(first_after)
        for number, chunk in enumerate(chunks):
            if rate and number:
                await asyncio.sleep(1 / rate)
            await response.write(chunk)
        if stalls:
            await asyncio.Event().wait()
        if breaks:
            request.transport.abort()
        else:
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
        return response

    return answer


def writes(text: str | Iterable[str], *, rate: float = 0, first_after: float = 0, finish_reason: str = "stop") -> Behaviour:
    """Write a whole text, word by word or in the given pieces, as a healthy model does."""
    pieces = pieces_of(text) if isinstance(text, str) else list(text)
    chunks = [OPENING, *map(delta, pieces), delta(finish_reason=finish_reason) + DONE]
    return sends(*chunks, rate=rate, first_after=first_after)


def writes_for_ever(piece: str = " and on", *, rate: float = 50) -> Behaviour:
    """Write the same piece again and again, until the client leaves."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(delta(piece))
            await asyncio.sleep(1 / rate)

    return answer


def refuses(status: int, *, retry_after: str | None = None) -> Behaviour:
    """Answer with a status, and when the server wants to be asked again."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return web.json_response({"error": {"message": "the body of an error is not read"}}, status=status, headers=headers)

    return answer


def breaks_off(text: str = "It begins") -> Behaviour:
    """Break the connection after some text."""
    return sends(OPENING, *map(delta, pieces_of(text)), breaks=True)


def ends_early(text: str = "It begins") -> Behaviour:
    """End the answer properly after some text, without a word that it is whole."""
    return sends(OPENING, *map(delta, pieces_of(text)))


def stalls(text: str = "It begins") -> Behaviour:
    """Say nothing more after some text, and keep the connection."""
    return sends(OPENING, *map(delta, pieces_of(text)), stalls=True)


def says_nothing() -> Behaviour:
    """Never answer, not even with a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    return answer


def hangs_up() -> Behaviour:
    """Close the connection without an answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        request.transport.abort()
        return web.Response()

    return answer


def sends_garbage(text: str = "It begins") -> Behaviour:
    """Send what is no JSON after some text."""
    return sends(OPENING, *map(delta, pieces_of(text)), frame('{"choices": [{"delta": {"content": "cut'), STOP, DONE)


def sends_a_page() -> Behaviour:
    """Answer with a page for people, as a proxy on the way does."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html><h1>Welcome</h1></html>", content_type="text/html")

    return answer


def says_error(text: str = "It begins", *, error: object = None) -> Behaviour:
    """Send an error object after some text."""
    said = {"message": "secret detail of the server", "type": "server_error"} if error is None else error
    return sends(OPENING, *map(delta, pieces_of(text)), frame({"error": said}))


def writes_nothing() -> Behaviour:
    """Finish without any text."""
    return sends(OPENING, STOP, DONE)
