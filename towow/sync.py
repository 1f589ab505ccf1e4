"""The client for programs without asyncio: the same calls, which wait for their results.

    from towow.sync import Client

    with Client("http://127.0.0.1:8000") as client:
        client.append("task:t-1", "task.started", {"name": "index"})
        for event in client.follow("task:t-1"):
            print(event.seq, event.event_type, event.payload)

Each client has a thread with an event loop, in which the calls of `towow.Client` run; it may be used from several threads.
Ctrl-C ends the wait of a call or an iteration, and leaving the `with` block ends every follow and closes the connections.
`on_state` callbacks are called in the client's thread."""

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from towow import client, subscription, tools
from towow.retry import Retry

T = TypeVar("T")
P = ParamSpec("P")


class _LoopThread:
    """An event loop in a thread; as a daemon it never keeps a program from ending."""

    def __init__(self) -> None:
        self.is_running = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="towow client", daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        """Cancel the calls of other threads, and end the loop and its thread."""
        self.is_running = False
        self.start(_cancel_others()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Subscription(Generic[T]):
    """The events of a follow, for one reader: iterate over it, and `close` it or use it with `with`."""

    def __init__(self, thread: _LoopThread, events: subscription.Subscription[T]) -> None:
        self._thread = thread
        self._events = events
        self._ready: deque[T] = deque()
        self._next: concurrent.futures.Future[list[T]] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout_seconds: float | None = None) -> T:
        """The next event. Raises `StopIteration` at the end, and `TimeoutError`, after which nothing is lost."""
        if not self._ready:
            self._receive(timeout_seconds)
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def close(self) -> None:
        """End the follow and close its connection; safe to call again."""
        self._ready.clear()
        if self._thread.is_running:
            self._thread.start(self._events.aclose()).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _receive(self, timeout_seconds: float | None) -> None:
        """Wait for events; after a time-out or Ctrl-C the next call goes on with the same wait."""
        if self._next is None:
            if not self._thread.is_running:
                return
            self._next = self._thread.start(self._events.batch())
        concurrent.futures.wait((self._next,), timeout_seconds)
        if not self._next.done():
            raise TimeoutError(f"no event came within {timeout_seconds:g} s")
        batch, self._next = self._next, None
        self._ready.extend(batch.result())


class _Blocking:
    """The part that both clients share: the thread, from `with` to its end."""

    def __init__(self, inner: client.Client | tools.SimpleNotifier) -> None:
        self._inner = inner
        self._thread: _LoopThread | None = None

    def __enter__(self) -> Self:
        if self._thread is None:
            self._thread = _LoopThread()
            self._wait(self._inner.__aenter__())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End every follow, close the connections and end the thread; safe to call again."""
        if self._thread is not None:
            self._wait(self._inner.close())
            thread, self._thread = self._thread, None
            thread.stop()

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine; Ctrl-C cancels it."""
        future = self._opened().start(coroutine)
        try:
            return future.result()
        finally:
            future.cancel()

    def _iterate(self, events: subscription.Subscription[T]) -> Subscription[T]:
        return Subscription(self._opened(), events)

    def _opened(self) -> _LoopThread:
        if self._thread is None:
            raise RuntimeError("the client is not open: use `with Client(…) as client`")
        return self._thread


def _call(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[_Blocking, P], T]:
    @wraps(method)
    def call(self: _Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._opened()
        return self._wait(method(self._inner, *args, **kwargs))

    return call


def _follow(
    method: Callable[Concatenate[Any, P], subscription.Subscription[T]],
) -> Callable[Concatenate[_Blocking, P], Subscription[T]]:
    @wraps(method)
    def call(self: _Blocking, /, *args: P.args, **kwargs: P.kwargs) -> Subscription[T]:
        return self._iterate(method(self._inner, *args, **kwargs))

    return call


class Client(_Blocking):
    """`towow.Client` without asyncio; use it with `with`. Its methods have the same names, arguments, results and errors."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout_seconds: float = 30.0,
        retry: Retry | None = None,
        source: str = "python-client",
        reads_own_writes: bool = False,
    ) -> None:
        inner = client.Client(
            base_url,
            token=token,
            timeout_seconds=timeout_seconds,
            retry=retry,
            source=source,
            reads_own_writes=reads_own_writes,
        )
        super().__init__(inner)
        self.base_url = inner.base_url
        self._client = inner

    def seen(self, seq: int = 0) -> int:
        """The highest seq that an answer to this client may have shown; `seq` is what another client has seen, to go on from.

        With `reads_own_writes` later calls are answered with at least that."""
        return self._client.seen(seq)

    append = _call(client.Client.append)
    append_many = _call(client.Client.append_many)
    read = _call(client.Client.read)
    get_event = _call(client.Client.get_event)
    streams = _call(client.Client.streams)
    each_stream = _follow(client.Client.each_stream)
    health = _call(client.Client.health)
    follow = _follow(client.Client.follow)

    submit_demand = _call(client.Client.submit_demand)
    demand = _call(client.Client.demand)
    demands = _call(client.Client.demands)
    cancel_demand = _call(client.Client.cancel_demand)
    register_agent = _call(client.Client.register_agent)
    follow_agent = _follow(client.Client.follow_agent)
    offer = _call(client.Client.offer)
    decline = _call(client.Client.decline)
    feedback = _call(client.Client.feedback)

    message = _call(client.Client.message)
    escalate = _call(client.Client.escalate)
    takeover = _call(client.Client.takeover)
    release = _call(client.Client.release)
    session = _call(client.Client.session)
    sessions = _call(client.Client.sessions)
    follow_session = _follow(client.Client.follow_session)
    follow_operator = _follow(client.Client.follow_operator)
    broadcast = _call(client.Client.broadcast)

    emit = _call(client.Client.emit)
    emit_many = _call(client.Client.emit_many)
    task = _call(client.Client.task)
    tasks = _call(client.Client.tasks)
    task_events = _call(client.Client.task_events)
    follow_task = _follow(client.Client.follow_task)

    start_run = _call(client.Client.start_run)
    follow_run = _follow(client.Client.follow_run)
    run = _call(client.Client.run)
    runs = _call(client.Client.runs)
    cancel_run = _call(client.Client.cancel_run)
    session_state = _call(client.Client.session_state)
    model = _call(client.Client.model)


class SimpleNotifier(_Blocking):
    """`towow.SimpleNotifier` without asyncio; use it with `with`."""

    def __init__(
        self,
        session_id: str,
        base_url: str | None = None,
        *,
        token: str | None = None,
        timeout_seconds: float = 30.0,
        retry: Retry | None = None,
    ) -> None:
        super().__init__(tools.SimpleNotifier(session_id, base_url, token=token, timeout_seconds=timeout_seconds, retry=retry))
        self.session_id = session_id

    tool_status = _call(tools.SimpleNotifier.tool_status)
    tool_result = _call(tools.SimpleNotifier.tool_result)
    clear_result = _call(tools.SimpleNotifier.clear_result)
    error = _call(tools.SimpleNotifier.error)
    permission_request = _call(tools.SimpleNotifier.permission_request)
    clear_permission = _call(tools.SimpleNotifier.clear_permission)
    request_permission = _call(tools.SimpleNotifier.request_permission)
