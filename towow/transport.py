"""HTTP to one server: sessions, headers, time-outs, and network failures translated into errors.

The modules of the surfaces know the routes, `retry.py` when a call is tried again; nothing outside this module sends a
request."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit
from weakref import WeakSet

import aiohttp
from yarl import URL

from towow.errors import InvalidRequest
from towow.events import payload_json
from towow.responses import Unreachable, read, read_error
from towow.retry import Retry, retried
from towow.subscription import Subscription
from towow.version import __version__

Parameters = Sequence[tuple[str, str]]
_SEQ = re.compile(r"[0-9]{1,19}\Z")
T = TypeVar("T")


def path_segment(name: int | str) -> str:
    """One segment of a path, quoted; no value can leave it."""
    return quote(str(name), safe=":")


Order = Literal["newest", "oldest"]  # of a list, by what its things began with


def given(**parameters: float | str | None) -> list[tuple[str, str]]:
    """Query parameters, without those that are None."""
    return [(key, str(value)) for key, value in parameters.items() if value is not None]


def json_body(**fields: Any) -> bytes:
    """A JSON object of the fields that are not None. Raises `InvalidBody` for values that JSON cannot carry."""
    return payload_json({key: value for key, value in fields.items() if value is not None}).encode()


def unreachable(base_url: str, error: OSError) -> Unreachable:
    """The error for an address that accepts no connection."""
    number = error.errno or 0  # negative for the errors of a name server
    reason = os.strerror(number) if number > 0 else error.strerror or "it does not answer"
    return Unreachable(f"no server answers at {base_url} ({reason.lower()})", was_sent=False)


class Transport:
    """Requests to `base_url` with a bearer token; a session that is passed in stays open."""

    def __init__(
        self,
        base_url: str,
        token: str | None,
        session: aiohttp.ClientSession | None,
        timeout_seconds: float,
        retry: Retry,
        *,
        reads_own_writes: bool = False,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidRequest(f"the server must be an http:// or https:// URL, not {base_url!r}", field="base_url")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise InvalidRequest("the token must be printable ASCII", field="token")
        self.base_url = base_url.rstrip("/")
        self.retry = retry
        self.seen_seq = 0
        self._reads_own_writes = reads_own_writes
        self.subscriptions: WeakSet[Subscription[Any]] = WeakSet()
        self._timeout_seconds = timeout_seconds
        self._session = session
        self._owns_session = session is None
        self._headers = {"User-Agent": f"towow-client/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def open(self) -> None:
        """Make a session unless there is one; needs a running event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession()

    async def close(self) -> None:
        """End every follow, and close the session unless it came from outside; safe to call again."""
        for subscription in list(self.subscriptions):
            await subscription.aclose()
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, kind: type[T], path: str, parameters: Parameters = (), *, extra_seconds: float = 0.0) -> T:
        """Read a resource as a value of a type, after as many tries as the policy allows."""
        return read(kind, await self.call("GET", path, parameters, extra_seconds=extra_seconds))

    async def post(self, kind: type[T], path: str, body: bytes, *, is_repeatable: bool = True) -> T:
        """Send a command and read its answer as a value of a type; every try sends the same bytes."""
        return read(kind, await self.call("POST", path, body=body, is_repeatable=is_repeatable))

    async def call(
        self,
        method: str,
        path: str,
        parameters: Parameters = (),
        *,
        body: bytes | None = None,
        is_repeatable: bool = True,
        extra_seconds: float = 0.0,
    ) -> bytes:
        """The body of a 2xx answer after as many tries as the policy allows, or the last try's error."""

        async def once() -> bytes:
            return await self.call_once(method, path, parameters, body=body, extra_seconds=extra_seconds)

        return await retried(once, self.retry, is_repeatable=is_repeatable)

    async def call_once(
        self, method: str, path: str, parameters: Parameters = (), *, body: bytes | None = None, extra_seconds: float = 0.0
    ) -> bytes:
        """One try. Raises the error of a status over 399, and `Unreachable` without a complete answer."""
        timeout_seconds = self._timeout_seconds + extra_seconds
        headers = self._headers | {"Accept": "application/json"}  # some routes answer with a stream unless asked for JSON
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._reads_own_writes and self.seen_seq:
            headers["X-Towow-At-Least"] = str(self.seen_seq)
        with self._translated_errors(timeout_seconds):
            async with self._opened().request(
                method,
                self._url(path, parameters),
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                raise_for_status=False,  # a session from outside may have it on
            ) as response:
                raw = await response.read()
                seq = response.headers.get("X-Towow-Seq", "")
                if _SEQ.match(seq):
                    self.seen_seq = max(self.seen_seq, int(seq))
                if response.status >= 400:
                    raise read_error(response.status, raw, response.headers.get("Retry-After"))
                return raw

    @asynccontextmanager
    async def stream(self, path: str, parameters: Parameters) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is unread; statuses over 399 are raised. Leaving closes the connection."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        response = None
        try:
            with self._translated_errors(self._timeout_seconds):
                async with asyncio.timeout(self._timeout_seconds):
                    response = await self._opened().get(
                        self._url(path, parameters),
                        headers=self._headers | headers,
                        timeout=aiohttp.ClientTimeout(total=None),
                        raise_for_status=False,
                    )
                    if response.status >= 400:
                        raise read_error(response.status, await response.read(), response.headers.get("Retry-After"))
            yield response
        finally:
            if response is not None:
                response.close()

    @contextmanager
    def _translated_errors(self, timeout_seconds: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise Unreachable(f"{self.base_url} did not answer within {timeout_seconds:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise unreachable(self.base_url, error.os_error) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the connection to {self.base_url} broke: {error or type(error).__name__}") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use `async with Client(…) as client`")
        return self._session

    def _url(self, path: str, parameters: Parameters) -> URL:
        return URL(self.base_url + path, encoded=True).update_query(list(parameters))
