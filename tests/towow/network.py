"""What stands between a client and the application in tests, and a client's patience with it."""

from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from towow import Retry

QUICK = Retry(
    total_seconds=5.0,
    first_wait_seconds=0.001,
    longest_wait_seconds=0.01,
    jitter_seconds=0.0,
    reconnect_seconds=0.001,
    longest_reconnect_seconds=0.01,
    silence_seconds=5.0,
)


class Network:
    """What happens between the client and the application: it keeps every request, and loses answers on demand."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.answers_to_lose = 0

    @property
    def posts(self) -> list[str]:
        """The paths that were posted to."""
        return [path for method, path in self.requests if method == "POST"]

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let the application act, and close the connection instead of answering as often as asked."""
        self.requests.append((request.method, request.raw_path))
        answer = await handler(request)
        if request.method == "POST" and self.answers_to_lose > 0:
            self.answers_to_lose -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def keep_body(self, _: object, __: object, sent: aiohttp.TraceRequestChunkSentParams) -> None:
        """Keep what the client sends in a request."""
        self.bodies.append(sent.chunk)
