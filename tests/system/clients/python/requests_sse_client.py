"""requests-sse, which reconnects by itself until its retries are used up."""

import time
from datetime import timedelta

import requests
from lines import URL, got
from requests_sse import EventSource, InvalidStatusCodeError

is_over = False
with EventSource(URL, reconnection_time=timedelta(seconds=0.04), max_connect_retry=1_000, timeout=None) as source:
    while not is_over:
        try:
            for each in source:
                is_over = got(each.type or "", each.data)
                if is_over:
                    break
        except InvalidStatusCodeError as error:
            is_over = error.status_code == 204
        except requests.RequestException:
            time.sleep(0.04)
time.sleep(3600)
