"""
Logging: structlog, one line per event of the process; JSON when the output is not a terminal.
"""

import logging
import sys
from typing import Any

import msgspec
import structlog

from server.config import LoggingSection


def configure_logging(config: LoggingSection) -> None:
    """
    Set up structlog and quieten libraries that would log payloads (aiosqlite logs SQL parameters at debug).
    """
    level = getattr(logging, config.level.upper())
    is_console = config.format == "console" or (config.format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_console:
        processors = [*shared, structlog.dev.ConsoleRenderer()]
        factory: Any = structlog.PrintLoggerFactory(sys.stderr)
    else:
        processors = [*shared, structlog.processors.format_exc_info, _render_json]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _render_json(logger: Any, name: str, event_dict: Any) -> bytes:
    return msgspec.json.encode(event_dict, enc_hook=str)
