"""A language model behind the OpenAI-compatible API: one question, one answer, within one time limit, or a text in pieces.

`ChatModel` calls `{base_url}/chat/completions`. It knows nothing of a question's content; callers validate the answer and
have a fallback. The key travels in one header and is in no log line, error or `repr`. `text_stream.py` streams texts,
`failures.py` has the failures."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import stamina
import structlog

from server import __version__
from server.config import LlmSection
from server.llm.failures import ModelFailed, refusal, spoken_errors
from server.llm.text_stream import TextStreams, open_session
from towow.errors import StartupError

__all__ = ["MAX_ANSWER_BYTES", "ChatModel", "ModelFailed", "is_configured"]

MAX_ANSWER_BYTES = 1_048_576

_AT_ONCE = 4  # questions at the same time; others wait, within their own time limit
_CHUNK_BYTES = 65_536
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS, _JITTER_SECONDS = 0.2, 2.0, 0.2
_FORMAT_REFUSED = frozenset({400, 422})  # how servers say that they do not know `response_format`
_log = structlog.get_logger("towow.llm")


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Answer).decode


def is_configured(config: LlmSection) -> bool:
    """Whether the settings name a model."""
    return bool(config.base_url)


class ChatModel:
    """A remote model. Use as an async context manager; safe to call concurrently.

    Raises `StartupError` for settings that no question could be sent with."""

    def __init__(self, config: LlmSection) -> None:
        self._url = f"{_checked(config.base_url)}/chat/completions"
        if not config.model.strip():
            raise StartupError("[llm] model: a model must be named when base_url is set", field="llm.model")
        self._config = config
        self._headers = _headers(config.api_key_env)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._knows_formats = True
        self._texts = TextStreams(self._url, self._headers, config, at_once=config.max_streams)
        self._session: aiohttp.ClientSession | None = None
        self._text_session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ChatModel":
        """Open the session."""
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None))
        self._text_session = open_session()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        for session in (self._session, self._text_session):
            if session is not None:
                await session.close()
        self._session = self._text_session = None

    @property
    def name(self) -> str:
        """The model's name, as it stands in the settings."""
        return self._config.model

    @property
    def is_degraded(self) -> bool:
        """A model is not."""
        return False

    def stream(self, system: str, user: str) -> AsyncGenerator[str, None]:
        """One attempt to write a text, piece by piece, cut at `generation_tokens`; see `provider.TextSource`."""
        return self._texts.write(_opened(self._text_session), self._config.model, system, user)

    async def complete(self, system: str, user: str, *, is_json: bool = False) -> str:
        """The model's answer to one message, not blank; it may be cut at `max_tokens`.

        `is_json` asks for a JSON object, where the server knows how to. Raises `ModelFailed`, after `timeout_seconds` at
        the latest: that holds waiting for room and all attempts. An attempt gets an equal share of the time that is left."""
        body = {
            "model": self._config.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": self._config.max_tokens,
        }
        deadline = time.monotonic() + self._config.timeout_seconds
        reason = "busy"
        try:
            async with asyncio.timeout(self._config.timeout_seconds), self._room:
                reason = "timeout"
                return await self._persist(body, is_json=is_json, deadline=deadline)
        except TimeoutError:
            raise ModelFailed(reason) from None

    async def _persist(self, body: dict[str, Any], *, is_json: bool, deadline: float) -> str:
        """The first answer of as many attempts as are allowed, or the last one's error."""

        def wait_after(error: Exception) -> bool | float:
            if not isinstance(error, ModelFailed) or not error.is_passing:
                return False
            wait_seconds = error.retry_after_seconds
            if not wait_seconds:
                return True
            return wait_seconds if time.monotonic() + wait_seconds < deadline else False

        attempts = self._config.max_attempts
        async for attempt in stamina.retry_context(
            on=wait_after,
            attempts=attempts,
            timeout=None,
            wait_initial=_FIRST_WAIT_SECONDS,
            wait_max=_LONGEST_WAIT_SECONDS,
            wait_jitter=_JITTER_SECONDS,
        ):
            with attempt, spoken_errors():
                left = attempts - attempt.num + 1
                share = (deadline - time.monotonic()) / left if left > 1 else None  # the last one has all that is left
                async with asyncio.timeout(share):
                    return await self._ask(body, is_json=is_json)
        raise AssertionError("the last attempt returns or raises")

    async def _ask(self, body: dict[str, Any], *, is_json: bool) -> str:
        """One attempt; without `response_format` when the server refuses it, and from then on."""
        if not is_json or not self._knows_formats:
            return await self._answer(body)
        try:
            return await self._answer(body | {"response_format": {"type": "json_object"}})
        except ModelFailed as failure:
            if failure.reason not in {f"status_{status}" for status in _FORMAT_REFUSED}:
                raise
        answer = await self._answer(body)
        self._knows_formats = False
        _log.info("model_without_formats", model=self._config.model)
        return answer

    async def _answer(self, body: dict[str, Any]) -> str:
        async with self._respond(body) as response:
            raw = b""
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                raw += chunk
                if len(raw) > MAX_ANSWER_BYTES:
                    raise ModelFailed("too_large")
        return _read(raw)

    @asynccontextmanager
    async def _respond(self, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to one request, its body unread. Raises `ModelFailed` unless its status is 2xx.

        Leaving gives the connection back when the body was read to its end, and closes it otherwise. A redirect is
        refused: the key is for this server."""
        async with _opened(self._session).post(self._url, json=body, headers=self._headers, allow_redirects=False) as response:
            if not 200 <= response.status < 300:
                raise refusal(response)
            yield response


def _opened(session: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
    if session is None:
        raise RuntimeError("the model is not open: use `async with ChatModel(…) as model`")
    return session


def _checked(base_url: str) -> str:
    """The address without a slash at its end. It is in no message, because it may hold a secret."""
    wanted = "must be an http:// or https:// URL of a server with the OpenAI-compatible API, as http://127.0.0.1:11434/v1"
    try:
        parts = urlsplit(base_url.strip())
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment or not base_url.strip().isprintable() or " " in base_url.strip():
        raise StartupError(f"[llm] base_url {wanted}", field="llm.base_url")
    if "@" in parts.netloc:
        message = "[llm] base_url must not hold a name or password; a key goes into the variable that api_key_env names"
        raise StartupError(message, field="llm.base_url")
    return base_url.strip().rstrip("/")


def _headers(api_key_env: str) -> dict[str, str]:
    headers = {"User-Agent": f"towow-server/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}
    key = os.environ.get(api_key_env, "").strip() if api_key_env else ""
    if not (key.isascii() and key.isprintable()):
        raise StartupError(f"[llm] api_key_env: what {api_key_env} holds is not printable ASCII", field="llm.api_key_env")
    return headers | {"Authorization": f"Bearer {key}"} if key else headers


def _read(raw: bytes) -> str:
    """The text of the first choice. Raises `ModelFailed` when there is none."""
    try:
        answer = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelFailed("bad_answer") from None
    content = answer.choices[0].message.content if answer.choices else None
    if not content or not content.strip():
        raise ModelFailed("empty_answer")
    return content
