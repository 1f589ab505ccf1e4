"""httpx-sse: reconnecting is the caller's."""

import time

import httpx
from httpx_sse import connect_sse
from lines import URL, got

last, is_over = "", False
while not is_over:
    try:
        headers = {"Last-Event-ID": last} if last else {}
        with httpx.Client(timeout=None) as client, connect_sse(client, "GET", URL, headers=headers) as source:
            if source.response.status_code == 204:
                break
            for each in source.iter_sse():
                last = each.id or last
                is_over = got(each.event, each.data)
    except httpx.HTTPError:
        pass
    time.sleep(0.04)
time.sleep(3600)
