"""aiohttp-sse-client: it comes again where an answer ends, and leaves a connection that breaks to the caller."""

import asyncio
from datetime import timedelta

import aiohttp
from aiohttp_sse_client.client import EventSource
from lines import URL, got


async def main() -> None:
    """Follow until the end."""
    last, is_over = "", False
    options = {
        "reconnection_time": timedelta(seconds=0.04),
        "timeout": aiohttp.ClientTimeout(total=None),
        "read_bufsize": 1 << 20,
    }
    while not is_over:
        try:
            headers = {"Last-Event-ID": last} if last else {}
            async with EventSource(URL, headers=headers, **options) as source:
                async for each in source:
                    last = each.last_event_id or last
                    is_over = got(each.type or "", each.data)
                    if is_over:
                        break
        except (aiohttp.ClientError, ConnectionError):
            await asyncio.sleep(0.04)
    await asyncio.sleep(3600)


asyncio.run(main())
