"""The client of this repository."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from lines import URL

from towow import Client


def _said(state: str, detail: dict[str, Any]) -> None:
    control = {"ready": "ready", "reset": "reset", "ended": "end"}.get(state)
    if control is not None:
        print(json.dumps({"control": control}), flush=True)


async def main() -> None:
    """Follow until the end."""
    parts = urlsplit(URL)
    query = dict(parse_qsl(parts.query))
    async with Client(f"{parts.scheme}://{parts.netloc}") as client:
        events = client.follow(
            query["stream"],
            since_seq=query.get("last_event_id"),
            start=query.get("start"),
            allow_pending=True,
            on_reset="continue",
            on_state=_said,
        )
        async for event in events:
            print(json.dumps({"revision": event.revision, "bytes": len(event.payload_json)}), flush=True)
    await asyncio.sleep(3600)


asyncio.run(main())
