"""Channels of a server elsewhere: publish and follow over HTTP, through restarts and broken connections."""

from collections.abc import AsyncGenerator

from towow.channels import Content
from towow.client import Client
from towow.errors import TowowError
from towow.events import Event


class HttpBackend:
    """The channels of the server at a URL."""

    def __init__(self, url: str, token: str | None) -> None:
        self._client = Client(url, token=token)

    async def connect(self) -> None:
        """Open the client; the server may come later."""
        await self._client.__aenter__()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def publish(self, stream: str, content: Content) -> int:
        """Append an event and return its seq; it is on disk then. Tried again through a restart of the server, and stored
        once."""
        receipt = await self._client.append(stream, content.event_type, content.payload, source=content.source)
        return int(receipt["seq"])

    def follow(self, stream: str, since_seq: int | None) -> AsyncGenerator[Event, None]:
        """Every event after a cursor. Without one a session from its beginning, everything else from when it is connected."""
        return self._client.follow(stream, since_seq=since_seq, allow_pending=True)

    async def is_well(self) -> bool:
        """Whether the server answers and could write just now."""
        try:
            await self._client.health()  # raises when the server is not well, too
        except TowowError:
            return False
        return True
