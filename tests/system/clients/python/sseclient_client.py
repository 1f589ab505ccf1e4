"""sseclient-py over requests: reconnecting is the caller's."""

import time

import requests
from lines import URL, got
from sseclient import SSEClient

last, is_over = "", False
while not is_over:
    try:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        with requests.get(URL, stream=True, headers=headers) as response:
            if response.status_code == 204:
                break
            for each in SSEClient(response.iter_content(None)).events():
                last = each.id or last
                is_over = got(each.event, each.data)
    except requests.RequestException:
        pass
    time.sleep(0.04)
time.sleep(3600)
