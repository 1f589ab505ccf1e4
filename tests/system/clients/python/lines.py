"""What every client program prints."""

import json
import sys

URL = sys.argv[1]


def got(event: str, data: str) -> bool:
    """Print what came; whether the stream is over."""
    if event in ("", "message"):
        print(json.dumps({"revision": json.loads(data)["revision"], "bytes": len(data)}), flush=True)
    else:
        print(json.dumps({"control": event}), flush=True)
    return event == "end" and json.loads(data)["reason"] not in ("shutdown", "capacity")  # those ask to come again
