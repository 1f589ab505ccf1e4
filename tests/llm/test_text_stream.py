"""Texts as a model writes them, against a real HTTP server that can do everything wrong."""

import asyncio
import contextlib
import email.utils
import json
import time
import traceback

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import unused_port

from server.config import LlmSection
from server.llm import text_stream
from server.llm.chat import ChatModel, ModelFailed
from server.llm.provider import TextSource
from tests.support import until
from tests.support.upstream import (
    DONE,
    OPENING,
    STOP,
    breaks_off,
    delta,
    ends_early,
    frame,
    hangs_up,
    pieces_of,
    refuses,
    says_error,
    says_nothing,
    sends,
    sends_a_page,
    sends_garbage,
    stalls,
    writes,
    writes_for_ever,
    writes_nothing,
)

KEY = "sk-very-secret-456"
VARIABLE = "TOWOW_TEST_STREAM_KEY"
TEXT = "Once upon a time 有一个 event 🙂."


def settings(upstream, **changes):
    """Settings for the test's server; its time limits are never met unless a test says so."""
    values = {
        "base_url": upstream.url,
        "model": "small",
        "api_key_env": VARIABLE,
        "first_piece_timeout_seconds": 20.0,
        "stall_timeout_seconds": 20.0,
    }
    return LlmSection(**values | changes)


async def pieces(upstream, **changes):
    """The pieces of one text, of a model of its own."""
    async with ChatModel(settings(upstream, **changes)) as model:
        return [piece async for piece in model.stream("Be brief.", "Hello?")]


async def failure(upstream, **changes):
    """What came, and the failure that it ended with."""
    came = []

    async def read(model):
        async for piece in model.stream("Be brief.", "Hello?"):
            came.append(piece)  # noqa: PERF401 - what came before a failure counts

    async with ChatModel(settings(upstream, **changes)) as model:
        with pytest.raises(ModelFailed) as caught:
            await read(model)
    return "".join(came), caught.value


async def test_a_text_comes_in_the_pieces_that_the_model_wrote(upstream):
    """No piece is empty, none is changed, and together they are the text."""
    upstream.otherwise(writes(TEXT))
    assert await pieces(upstream) == pieces_of(TEXT)


async def test_the_first_piece_comes_while_the_model_still_writes(upstream):
    """Nothing is held back for what follows."""
    upstream.otherwise(writes_for_ever("on "))
    async with ChatModel(settings(upstream)) as model, contextlib.aclosing(model.stream("s", "u")) as text:
        assert await anext(text) == "on "
        assert upstream.open == 1


async def test_a_request_carries_model_messages_limit_and_key(upstream, monkeypatch):
    """The body is what the OpenAI-compatible API asks for; the key is a bearer token."""
    monkeypatch.setenv(VARIABLE, KEY)
    await pieces(upstream, generation_tokens=7)
    [asked] = upstream.asked
    assert asked.body == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
        "max_tokens": 7,
        "stream": True,
    }
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["Accept"] == "text/event-stream"


async def test_a_model_is_a_writer(upstream):
    """It has a name and is not degraded."""
    async with ChatModel(settings(upstream)) as model:
        writer: TextSource = model
        assert (writer.name, writer.is_degraded) == ("small", False)


async def test_a_model_that_is_not_open_says_so(upstream):
    """Nothing is sent before `async with`."""
    with pytest.raises(RuntimeError, match="async with"):
        ChatModel(settings(upstream)).stream("s", "u")


WHOLE = {
    "without [DONE]": [delta("Hello"), STOP],
    "without a reason": [delta("Hello"), DONE],
    "with text and reason in one frame": [delta("Hello", finish_reason="length")],
    "cut at the limit": [delta("Hello"), delta(finish_reason="length"), DONE],
    "with figures at its end": [delta("Hello"), STOP, frame({"choices": [], "usage": {"total_tokens": 3}}), DONE],
    "with figures before its end": [frame({"choices": [], "usage": None}), delta("Hello"), STOP, DONE],
    "with no list of choices": [frame({"id": "c-1"}), frame({"choices": None}), delta("Hello"), STOP],
    "with a null piece": [frame({"choices": [{"index": 0, "delta": {"content": None}}]}), delta("Hello"), STOP],
    "with a null delta": [frame({"choices": [{"index": 0, "delta": None}]}), delta("Hello"), STOP],
    "with thoughts": [delta(reasoning_content="Hm."), delta("Hello", reasoning_content=None), STOP, DONE],
    "with another choice": [frame({"choices": [{"index": 1, "delta": {"content": "No"}}]}), delta("Hello"), STOP],
    "with no index": [frame({"choices": [{"delta": {"content": "Hello"}}]}), STOP],
    "with empty frames": [b"data:\n\n", b"data: \n\n", b"\n\n\n", delta("Hello"), STOP],
    "with a null error": [frame({"error": None, "choices": [{"delta": {"content": "Hello"}}]}), STOP],
    "with more after its end": [delta("Hello"), STOP, DONE, delta("more")],
    "with garbage after its end": [delta("Hello"), STOP, b"data: {\n\n"],
}


@pytest.mark.parametrize("chunks", WHOLE.values(), ids=WHOLE)
async def test_every_way_to_end_a_text_is_taken(upstream, chunks):
    """Servers differ in what they send around the text."""
    upstream.otherwise(sends(*chunks))
    assert "".join(await pieces(upstream)) == "Hello"


async def test_a_connection_that_stays_open_after_the_text_is_left(upstream):
    """The text is whole when the model says so, whatever its server does with the connection."""
    upstream.otherwise(sends(delta("Hello"), STOP, DONE, stalls=True))
    assert await pieces(upstream) == ["Hello"]
    await until(lambda: upstream.left == 1)


SAID = b"".join([OPENING, *map(delta, pieces_of(TEXT)), STOP, DONE])
WIRES = {
    "LF": SAID,
    "CRLF": SAID.replace(b"\n", b"\r\n"),
    "CR": SAID.replace(b"\n", b"\r"),
    "a byte order mark": b"\xef\xbb\xbf" + SAID,
    "comments": b": hello\n\n" + SAID.replace(b"data:", b": keepalive\ndata:"),
    "comments alone": SAID.replace(b"\n\n", b"\n\n: OPENROUTER PROCESSING\n\n"),
    "no space after the colon": SAID.replace(b"data: ", b"data:"),
    "names, ids and waits": SAID.replace(b"data:", b"event: completion\nid: 7\nretry: 10\ndata:"),
    "unknown fields": SAID.replace(b"data:", b"nonsense\nfoo: bar\ndata:"),
    "data on several lines": SAID.replace(b', "choices"', b',\ndata: "choices"'),
}


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_streams_are_read_by_the_rules_of_the_standard(upstream, wire):
    """Line ends, comments, fields and several lines of data, in one piece and byte by byte."""
    upstream.otherwise(sends(wire), sends(*(bytes([byte]) for byte in wire)))
    for _ in range(2):
        assert "".join(await pieces(upstream)) == TEXT


async def test_a_stream_may_be_cut_at_every_byte(upstream):
    """Also inside a character, a line end and a field's name."""
    wire = b"\xef\xbb\xbf" + b"".join([delta("有🙂"), STOP.replace(b"\n", b"\r\n"), DONE])

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        cut = len(upstream.asked)
        for part in (wire[:cut], wire[cut:]):
            await response.write(part)
            for _ in range(3):
                await asyncio.sleep(0)  # turns of the loop in which the other side reads
        return response

    upstream.otherwise(answer)
    async with ChatModel(settings(upstream)) as model:
        for _ in range(len(wire) - 1):
            assert [piece async for piece in model.stream("s", "u")] == ["有🙂"]


FAULTS = {
    "a refusal": (refuses(400), "status_400", False, ""),
    "no right": (refuses(401), "status_401", False, ""),
    "an unknown model": (refuses(404), "status_404", False, ""),
    "a redirect": (refuses(307), "status_307", False, ""),
    "too many": (refuses(429), "status_429", True, ""),
    "a fault": (refuses(500), "status_500", True, ""),
    "a rest": (refuses(503), "status_503", True, ""),
    "a hang-up": (hangs_up(), "broken", True, ""),
    "a break": (breaks_off(), "broken", True, "It begins"),
    "an early end": (ends_early(), "broken", True, "It begins"),
    "an end before the first piece": (sends(), "broken", True, ""),
    "comments and no more": (sends(b": hello\n\n"), "broken", True, ""),
    "a half frame": (sends(delta("It begins"), b'data: {"choices": ['), "broken", True, "It begins"),
    "garbage": (sends_garbage(), "bad_answer", False, "It begins"),
    "a page": (sends_a_page(), "bad_answer", False, ""),
    "an answer that is no stream": (refuses(200), "bad_answer", False, ""),
    "a list": (sends(frame([])), "bad_answer", False, ""),
    "a text": (sends(frame('"Hello"')), "bad_answer", False, ""),
    "a number for a piece": (sends(delta(7)), "bad_answer", False, ""),
    "half a character": (sends(b'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n'), "bad_answer", False, ""),
    "deep nesting": (sends(frame("[" * 100_000)), "bad_answer", False, ""),
    "no text": (writes_nothing(), "empty_answer", False, ""),
    "nothing but space": (writes([" ", "\n"]), "empty_answer", False, " \n"),
    "an error": (says_error(), "upstream_error", True, "It begins"),
    "an error that is a text": (says_error(error="out of memory"), "upstream_error", True, "It begins"),
    "an error that is a number": (says_error(error=7), "upstream_error", True, "It begins"),
    "an error with a status": (says_error(error={"code": 503, "message": "x"}), "status_503", True, "It begins"),
    "an error with a status as text": (says_error(error={"status": "429"}), "status_429", True, "It begins"),
    "an error with a final status": (says_error(error={"code": 400}), "status_400", False, "It begins"),
    "an error with a success": (says_error(error={"code": 200}), "upstream_error", True, "It begins"),
    "an error that stays": (says_error(error={"type": "invalid_request_error"}), "upstream_error", False, "It begins"),
    "no money": (says_error(error={"code": "insufficient_quota"}), "upstream_error", False, "It begins"),
}


@pytest.mark.parametrize(("behaviour", "reason", "is_passing", "before"), FAULTS.values(), ids=FAULTS)
async def test_every_fault_has_a_reason(upstream, behaviour, reason, is_passing, before):
    """A code, whether it may pass, and what came before it; one attempt, no more."""
    upstream.otherwise(behaviour)
    came, failed = await failure(upstream)
    assert (failed.reason, failed.is_passing, came) == (reason, is_passing, before)
    assert len(upstream.asked) == 1


async def test_a_redirect_is_not_followed(upstream, monkeypatch):
    """The key is for this server."""
    monkeypatch.setenv(VARIABLE, KEY)

    async def redirect(request):
        return web.Response(status=307, headers={"Location": f"{upstream.url}/chat/completions"})

    upstream.otherwise(redirect, writes(TEXT))
    came, failed = await failure(upstream)
    assert (failed.reason, came, len(upstream.asked)) == ("status_307", "", 1)


@pytest.mark.parametrize("retry_after", ["7", "in an hour", "soon"])
async def test_a_wait_that_the_server_asks_for_is_told(upstream, retry_after):
    """Seconds or a date; what cannot be read counts as not said."""
    if retry_after == "in an hour":
        retry_after = email.utils.formatdate(time.time() + 3_600, usegmt=True)
    upstream.otherwise(refuses(429, retry_after=retry_after))
    _, failed = await failure(upstream)
    if retry_after == "soon":
        assert failed.retry_after_seconds is None
    else:
        assert failed.retry_after_seconds == 7 or 3_500 < failed.retry_after_seconds <= 3_600


async def test_nobody_there_is_unreachable():
    """It may pass: the server may be starting."""
    config = LlmSection(base_url=f"http://127.0.0.1:{unused_port()}/v1", model="small")
    async with ChatModel(config) as model:
        with pytest.raises(ModelFailed, match="unreachable") as caught:
            await anext(model.stream("s", "u"))
    assert caught.value.is_passing


LATE = {
    "no status": (says_nothing(), ""),
    "no frame": (sends(stalls=True), ""),
    "comments": (sends(*[b": wait\n\n"] * 1_000, rate=100), ""),
    "an opened frame": (sends(b"data: {", *[b" "] * 1_000, rate=100), ""),
}


@pytest.mark.parametrize(("behaviour", "before"), LATE.values(), ids=LATE)
async def test_a_first_piece_that_is_late_is_given_up(upstream, behaviour, before):
    """Whatever the server sends instead; the connection is closed."""
    upstream.otherwise(behaviour)
    came, failed = await failure(upstream, first_piece_timeout_seconds=0.1)
    assert (failed.reason, failed.is_passing, came) == ("timeout", True, before)
    await until(lambda: upstream.left == 1)


STALLED = {
    "silence": stalls(),
    "comments": sends(*map(delta, pieces_of("It begins")), *[b": wait\n\n"] * 1_000, rate=100),
    "an opened frame": sends(*map(delta, pieces_of("It begins")), b"data: {", *[b" "] * 1_000, rate=100),
}


@pytest.mark.parametrize("behaviour", STALLED.values(), ids=STALLED)
async def test_a_model_that_says_nothing_more_is_given_up(upstream, behaviour):
    """A keepalive is no piece; the connection is closed."""
    upstream.otherwise(behaviour)
    came, failed = await failure(upstream, stall_timeout_seconds=0.1)
    assert (failed.reason, failed.is_passing, came) == ("stalled", True, "It begins")
    await until(lambda: upstream.left == 1)


async def test_a_slow_first_piece_is_waited_for(upstream):
    """The limit between two pieces does not hold for the first one."""
    upstream.otherwise(writes(TEXT, first_after=0.5))
    assert "".join(await pieces(upstream, stall_timeout_seconds=0.3)) == TEXT


async def test_an_opening_without_text_is_no_first_piece(upstream):
    """Servers send one at once and begin to think then; the first piece keeps its time."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(OPENING)
        await asyncio.sleep(0.5)
        await response.write(delta("Hello") + STOP)
        return response

    upstream.otherwise(answer)
    assert await pieces(upstream, first_piece_timeout_seconds=20.0, stall_timeout_seconds=0.1) == ["Hello"]


async def test_an_opening_does_not_make_the_first_piece_later(upstream):
    """A server that says nothing after it is late."""
    upstream.otherwise(sends(OPENING, stalls=True))
    came, failed = await failure(upstream, first_piece_timeout_seconds=0.3, stall_timeout_seconds=0.1)
    assert (failed.reason, failed.is_passing, came) == ("timeout", True, "")


async def test_a_model_that_thinks_first_is_alive(upstream):
    """Every frame counts, also one without text."""
    thoughts = [delta(reasoning_content="Hm.")] * 15
    upstream.otherwise(sends(*thoughts, delta("Hello"), STOP, rate=20))
    assert await pieces(upstream, first_piece_timeout_seconds=0.5, stall_timeout_seconds=0.5) == ["Hello"]


async def test_a_slow_reader_does_not_make_the_model_late(upstream):
    """Time counts while the model is waited for, not while a piece is stored."""
    upstream.otherwise(sends(delta("Hel"), delta("lo", finish_reason="stop"), rate=1.25))
    read = []
    async with ChatModel(settings(upstream, stall_timeout_seconds=0.5)) as model:
        async for piece in model.stream("s", "u"):
            read.append(piece)
            await asyncio.sleep(0.6)  # longer than the limit, and shorter than the model takes
    assert read == ["Hel", "lo"]


async def test_closing_the_text_closes_the_connection(upstream):
    """A model that nobody listens to stops writing."""
    upstream.otherwise(writes_for_ever())
    async with ChatModel(settings(upstream)) as model:
        text = model.stream("s", "u")
        await anext(text)
        await text.aclose()
        await until(lambda: upstream.left == 1 and upstream.open == 0)


@pytest.mark.parametrize("behaviour", [says_nothing(), stalls(), writes_for_ever()], ids=["silent", "stalled", "writing"])
async def test_cancelling_the_reader_closes_the_connection(upstream, behaviour):
    """Also when it is waiting for the answer to begin."""
    upstream.otherwise(behaviour)

    async def read(model):
        async with contextlib.aclosing(model.stream("s", "u")) as text:
            async for _ in text:
                pass

    async with ChatModel(settings(upstream)) as model:
        reading = asyncio.create_task(read(model))
        await until(lambda: upstream.open == 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: upstream.left == 1 and upstream.open == 0)


async def test_a_text_that_was_never_asked_for_is_nothing(upstream):
    """Closing it before the first piece sends no request."""
    async with ChatModel(settings(upstream)) as model:
        await model.stream("s", "u").aclose()
    assert not upstream.asked


async def test_so_many_texts_are_written_at_once(upstream):
    """Further ones wait, without being late, and all are written."""
    upstream.otherwise(writes(TEXT, rate=10))

    async def read(model):
        return "".join([piece async for piece in model.stream("s", "u")])

    async with ChatModel(settings(upstream, max_streams=2, first_piece_timeout_seconds=0.6)) as model:
        assert await asyncio.gather(*(read(model) for _ in range(6))) == [TEXT] * 6
    assert upstream.most_open == 2


async def test_a_hundred_and_fifty_texts_are_written_at_once(upstream):
    """The limit is the setting's, not one of the HTTP client."""
    upstream.otherwise(stalls())
    async with ChatModel(settings(upstream, max_streams=150)) as model:
        texts = [model.stream("s", "u") for _ in range(150)]
        assert set(await asyncio.gather(*map(anext, texts))) == {"It"}
        assert upstream.open == 150
        for text in texts:
            await text.aclose()


async def test_room_is_given_back_whatever_happens(upstream):
    """Failures, closed texts and cancelled readers do not narrow it."""
    upstream.otherwise(refuses(500), breaks_off(), sends_garbage(), stalls(), says_nothing(), writes_for_ever(), writes(TEXT))
    async with ChatModel(
        settings(upstream, max_streams=1, first_piece_timeout_seconds=0.1, stall_timeout_seconds=0.1)
    ) as model:
        for _ in range(5):
            with pytest.raises(ModelFailed):
                async for _ in model.stream("s", "u"):
                    pass
        async with contextlib.aclosing(model.stream("s", "u")) as text:
            await anext(text)
        assert "".join([piece async for piece in model.stream("s", "u")]) == TEXT


async def test_a_line_without_end_is_cut_off(upstream):
    """No more is kept than one frame may have."""
    upstream.otherwise(sends(b"data: ", *[b" " * 65_536] * 100))
    _, failed = await failure(upstream)
    assert (failed.reason, failed.is_passing) == ("too_large", False)


async def test_a_text_without_end_is_cut_off(upstream):
    """A mebibyte of text is taken, and no more."""
    piece = "x" * 65_536
    upstream.otherwise(sends(*[delta(piece)] * 16, STOP), sends(*[delta(piece)] * 17, STOP))
    assert len("".join(await pieces(upstream))) == text_stream.MAX_TEXT_BYTES
    came, failed = await failure(upstream)
    assert failed.reason == "too_large"
    assert len(came) <= text_stream.MAX_TEXT_BYTES


async def test_a_stream_of_nothing_is_cut_off(upstream, monkeypatch):
    """What is around the text is bounded as well."""
    monkeypatch.setattr(text_stream, "MAX_STREAM_BYTES", 100_000)
    upstream.otherwise(sends(*[b": wait\n\n" * 1_000] * 100))
    _, failed = await failure(upstream)
    assert failed.reason == "too_large"


@pytest.mark.parametrize(
    "behaviour", [refuses(401), refuses(503), breaks_off(), sends_garbage(), says_error(), stalls(), says_nothing(), hangs_up()]
)
async def test_nothing_secret_is_in_a_failure(upstream, monkeypatch, behaviour):
    """Neither the key nor what a server said is in what is raised, its traceback, the model's `repr` or a log line."""
    monkeypatch.setenv(VARIABLE, KEY)
    upstream.otherwise(behaviour)
    config = settings(upstream, first_piece_timeout_seconds=0.1, stall_timeout_seconds=0.1)
    with structlog.testing.capture_logs() as logs:
        async with ChatModel(config) as model:
            with pytest.raises(ModelFailed) as caught:
                async for _ in model.stream("s", "u"):
                    pass
            said = [repr(model), repr(model._texts)]
    said += ["".join(traceback.format_exception(caught.value)), repr(caught.value), json.dumps(logs, default=repr)]
    assert caught.value.__cause__ is None
    for secret in (KEY, "secret detail", upstream.url):
        assert not [text for text in said if secret in text]
