"""Logging: structlog, one line per event of the process; JSON when the output is not a terminal.

JSON lines are gathered for a moment and written together, because a write to a file for each request costs as much as
answering it. A warning or worse is written at once, with everything before it; so is what is left at exit."""

import asyncio
import atexit
import logging
import os
import sys
from typing import Any

import msgspec
import structlog

from server.config import LoggingSection
from towow.events import timestamp_of

_FLUSH_SECONDS = 0.1
_FLUSH_BYTES = 65_536
_NOT_OURS = frozenset({"aiohttp.http_exceptions", "aiohttp.web_protocol"})  # modules of errors in what a client sent
_URGENT = frozenset({"warning", "error", "critical"})


def configure_logging(config: LoggingSection) -> None:
    """Set up structlog and quieten libraries that would log payloads (aiosqlite logs SQL parameters at debug)."""
    level = getattr(logging, config.level.upper())
    is_console = config.format == "console" or (config.format == "auto" and sys.stderr.isatty())
    if is_console:
        structlog.configure(
            # No local variables with tracebacks: tokens are among them.
            processors=[
                structlog.processors.add_log_level,
                _stamp,
                structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
    else:
        lines = _Lines(sys.stderr.fileno())
        _outputs[:] = [lines]
        atexit.register(flush)
        structlog.configure(
            processors=[],
            wrapper_class=_json_logger(level),
            logger_factory=lambda *names: lines,
            cache_logger_on_first_use=True,
        )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def flush() -> None:
    """Write what is waiting, before the process ends in a way that skips the usual exit."""
    for lines in _outputs:
        lines.flush()


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop aiohttp's tracebacks of requests that are not HTTP: they quote the request line, where tokens travel."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__module__ not in _NOT_OURS


def _stamp(logger: Any, name: str, event_dict: Any) -> Any:
    event_dict["timestamp"] = timestamp_of()
    return event_dict


def _json_logger(level: int) -> type[structlog.BoundLoggerBase]:
    """A bound logger whose every line is encoded in one step: half the cost of a chain of processors, on every request."""

    def method(name: str) -> Any:
        number = getattr(logging, name.upper())

        def log(self: Any, event: str, **fields: Any) -> None:
            if number < level:
                return
            line: Any = {**self._context, **fields, "event": event, "level": name, "timestamp": timestamp_of()}
            if "exc_info" in line:
                line = structlog.processors.format_exc_info(self._logger, name, line)
            self._logger.msg(msgspec.json.encode(line, enc_hook=str) + b"\n", is_urgent=name in _URGENT)

        return log

    def exception(self: Any, event: str, **fields: Any) -> None:
        self.error(event, **{"exc_info": True, **fields})

    names = ("debug", "info", "warning", "error", "critical")
    return type("JsonLogger", (structlog.BoundLoggerBase,), {name: method(name) for name in names} | {"exception": exception})


class _Lines:
    """The output of the JSON logger; safe to use from any thread, timers only in the event loop's."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._pending: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def msg(self, line: bytes, *, is_urgent: bool = False) -> None:
        """Take one line."""
        self._pending.append(line)
        self._size += len(line)
        if is_urgent or self._size > _FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self.flush()
            else:
                self._timer = loop.call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is waiting. A log that cannot be written must not stop the server."""
        pending, self._pending, self._size = self._pending, [], 0
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        data = b"".join(pending)
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except OSError:
                return


_outputs: list[_Lines] = []
