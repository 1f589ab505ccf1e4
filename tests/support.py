"""
What several tests need: frames from a stream, events to publish, the shape of an error, a server process.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from server.database import Database
from server.eventlog import EventLog
from server.events import new_event
from server.hub import Hub

ROOT = Path(__file__).resolve().parent.parent


class Frame(NamedTuple):
    """
    One SSE block as a client sees it; `data` is decoded JSON, comments are frames with only `comment`.
    """

    event: str | None = None
    id: str | None = None
    data: object = None
    retry: int | None = None
    comment: str | None = None


async def read_frames(response, count, *, comments=False, timeout=3.0):
    """
    The next `count` frames of a stream; comments count only when asked for.
    """
    frames, fields = [], {}
    async with asyncio.timeout(timeout):
        while len(frames) < count:
            line = (await response.content.readline()).decode()
            assert line, f"the stream ended after {frames}"
            line = line.removesuffix("\n")
            if line.startswith(":"):
                if comments:
                    frames.append(Frame(comment=line[1:].strip()))
            elif not line:
                if fields:
                    frames.append(_frame(fields))
                fields = {}
            else:
                name, _, value = line.partition(": ")
                fields[name] = value
    return frames


def _frame(fields):
    data = json.loads(fields["data"])
    retry = int(fields["retry"]) if "retry" in fields else None
    return Frame(fields.get("event"), fields.get("id"), data, retry)


async def read_to_end(response, *, timeout=5.0):
    """
    The rest of the body as text, when the server ends it.
    """
    async with asyncio.timeout(timeout):
        return (await response.read()).decode()


def note(stream="task:a", n=0, **fields):
    """
    An event that is ready to append in process.
    """
    return new_event(stream, fields.pop("event_type", "note"), {"n": n}, **fields)


def body(stream="task:a", n=0, **fields):
    """
    The JSON of an event for POST /api/events.
    """
    return {"stream": stream, "event_type": "note", "payload": {"n": n}, **fields}


async def publish(client, count, *, stream="task:a", start=0):
    """
    Append `count` notes over HTTP in one request and return their receipts.
    """
    events = [body(stream, n) for n in range(start, start + count)]
    answer = await client.post("/api/events", json={"events": events})
    assert answer.status == 201, await answer.text()
    return (await answer.json())["events"]


async def assert_error(answer, code, *, status=None, field=None):
    """
    The one shape of an error, with this code; returns the `error` object.
    """
    data = await answer.json()
    error = data["error"]
    assert error["code"] == code, data
    assert data["detail"] == error["message"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", error["error_id"])
    assert answer.headers["X-Request-Id"] == error["error_id"]
    if status is not None:
        assert answer.status == status
    if field is not None:
        assert error["field"] == field
    return error


@contextlib.asynccontextmanager
async def open_log(config, **options):
    """
    A real log on a real file, without HTTP.
    """
    is_terminal = options.pop("is_terminal", lambda stream, event_type: event_type == "finished")
    hub = Hub(
        max_buffer_bytes=config.stream.max_buffer_bytes,
        tail_bytes=config.stream.tail_bytes,
        is_terminal=is_terminal,
        clock=time.monotonic,
    )
    async with Database(config.database) as database, EventLog(
        database, hub, config, is_terminal=is_terminal, **options
    ) as log:
        yield log


async def until(condition, *, timeout=5.0):
    """
    Wait for a condition that another task brings about, looking at every turn of the loop.
    """
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.001)


class ServerProcess:
    """
    A real server: `python run.py serve` on a free port. Use as a context manager; only its own process is ended.
    """

    def __init__(self, database, *, port=0, environment=None):
        self.database = Path(database)
        self.port = port
        self._environment = environment or {}
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()

    @property
    def url(self):
        """
        Where it listens.
        """
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """
        Start and wait until it says where it listens.
        """
        log = Path(f"{self.database}.log")
        self._log = log.open("ab")
        command = [sys.executable, str(ROOT / "run.py"), "serve", "--port", str(self.port), "--db", str(self.database)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "TOWOW__POLL__MAX_POLL_INTERVAL_SECONDS": "0.2", **self._environment},
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, f"the server did not start: {line}\n{log.read_text()}"
        self.port = int(found[1])

    def kill(self):
        """
        SIGKILL.
        """
        self.process.kill()
        self._reap()

    def stop(self, *, timeout=10.0):
        """
        SIGTERM, and the exit code.
        """
        if self.process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self._reap(timeout)

    def _reap(self, timeout=10.0):
        code = self.process.wait(timeout)
        self.process.stdout.close()
        self._log.close()
        self.process = None
        return code

    def get(self, path):
        """
        GET and decode JSON.
        """
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return json.load(answer)
