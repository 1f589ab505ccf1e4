"""The language model's client, against a real HTTP server that answers as it is told."""

import asyncio
import email.utils
import time
import traceback

import pytest
import stamina
import structlog
from aiohttp import web
from aiohttp.test_utils import unused_port

from server.config import LlmSection
from server.llm.chat import MAX_ANSWER_BYTES, ChatModel, ModelFailed, is_configured
from server.llm.failures import seconds_until
from tests.support import until
from towow.errors import StartupError

KEY = "sk-very-secret-123"
VARIABLE = "TOWOW_TEST_LLM_KEY"


def saying(content, **choice):
    """An answer of the API with this content."""
    return web.json_response({"id": "c-1", "choices": [{"index": 0, "message": {"content": content}, **choice}], "usage": {}})


def status(number, **headers):
    """An answer with this status; `Retry_After="1"` becomes a header."""
    text = "the body of an error is not read"
    return web.Response(status=number, text=text, headers={name.replace("_", "-"): value for name, value in headers.items()})


class ModelServer:
    """Answers with `script`, coroutine functions of the request: one for each, the last one for all that follow."""

    def __init__(self):
        self.script = []
        self.requests = []  # (headers, body) as they came
        self.url = ""

    async def handle(self, request):
        """POST /v1/chat/completions."""
        self.requests.append((request.headers, await request.json()))
        answer = self.script[min(len(self.requests), len(self.script)) - 1]
        return await answer(request)


@pytest.fixture
async def served(aiohttp_server):
    """A model's server whose script the test writes."""
    server = ModelServer()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", server.handle)
    server.url = str((await aiohttp_server(application)).make_url("/v1"))
    return server


@pytest.fixture
def no_waits():
    """Attempts follow each other at once."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
def waits():
    """The waits before further attempts, in seconds, as they are scheduled."""
    seen = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: seen.append(details.wait_for)])
    yield seen
    stamina.instrumentation.set_on_retry_hooks(None)


def settings(served, **changes):
    """Settings for a test server; ten seconds are never used up."""
    values = {"base_url": served.url, "model": "small", "api_key_env": VARIABLE, "timeout_seconds": 10.0} | changes
    return LlmSection(**values)


async def ask(served, *, is_json=False, **changes):
    """One question to a model of its own."""
    async with ChatModel(settings(served, **changes)) as model:
        return await model.complete("Be brief.", "Hello?", is_json=is_json)


async def failure_of(served, **changes):
    """The failure that a question ends with."""
    with pytest.raises(ModelFailed) as caught:
        await ask(served, **changes)
    return caught.value


def once(answer, *arguments, **options):
    """An entry of a script: a fresh response for every request, because one can be sent only once."""

    async def make(request):
        return answer(*arguments, **options)

    return make


async def stall(request):
    """Never answer."""
    await asyncio.Event().wait()


async def break_off(request):
    """Announce more than is sent, and close."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"choices": [{"message": {"content": "Hel')
    request.transport.close()
    return response


async def hang_up(request):
    """Close without an answer."""
    request.transport.abort()
    return web.Response()


async def test_an_answer_is_the_text_of_the_first_choice(served):
    """The text comes as the model wrote it."""
    served.script = [once(saying, " Hello there.\n")]
    assert await ask(served) == " Hello there.\n"


async def test_a_question_carries_model_messages_and_limit(served, monkeypatch):
    """The body is what the OpenAI-compatible API asks for, and the key goes as a bearer token."""
    monkeypatch.setenv(VARIABLE, f" {KEY}\n")
    served.script = [once(saying, "Hello")]
    await ask(served, max_tokens=7)
    [(headers, body)] = served.requests
    assert body == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
        "max_tokens": 7,
    }
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("value", [None, "", "  "])
async def test_without_a_key_there_is_no_header(served, monkeypatch, value):
    """A server that asks for no key gets none."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    served.script = [once(saying, "Hello")]
    await ask(served)
    assert "Authorization" not in served.requests[0][0]


async def test_no_variable_named_means_no_key(served):
    """An empty `api_key_env` is allowed."""
    served.script = [once(saying, "Hello")]
    assert await ask(served, api_key_env="") == "Hello"


async def test_a_cut_answer_is_an_answer(served):
    """The model may reach `max_tokens`; who asked decides whether the text is of use."""
    served.script = [once(saying, "Half a", finish_reason="length")]
    assert await ask(served) == "Half a"


PASSING = [408, 409, 425, 429, 500, 502, 503, 504, 529]
FINAL = [300, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 413, 422]


@pytest.mark.parametrize("number", PASSING)
async def test_what_passes_is_asked_again(served, no_waits, number):
    """Statuses that mean "later" are followed by another attempt."""
    served.script = [once(status, number), once(status, number), once(saying, "Hello")]
    assert await ask(served, max_attempts=3) == "Hello"
    assert len(served.requests) == 3


@pytest.mark.parametrize("number", PASSING)
async def test_attempts_are_limited(served, no_waits, number):
    """After `max_attempts` the last status is the reason."""
    served.script = [once(status, number)]
    assert (await failure_of(served, max_attempts=3)).reason == f"status_{number}"
    assert len(served.requests) == 3


@pytest.mark.parametrize("number", FINAL)
async def test_a_refusal_is_final(served, no_waits, number):
    """What another attempt cannot change is asked once."""
    served.script = [once(status, number)]
    assert (await failure_of(served, max_attempts=5)).reason == f"status_{number}"
    assert len(served.requests) == 1


async def test_a_redirect_is_not_followed(served, aiohttp_server, no_waits, monkeypatch):
    """The key is for the server that was named and goes nowhere else."""
    monkeypatch.setenv(VARIABLE, KEY)
    other = []

    async def note(request):
        other.append(request)
        return saying("Hello")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", note)
    elsewhere = await aiohttp_server(application)
    served.script = [once(status, 307, Location=str(elsewhere.make_url("/v1/chat/completions")))]
    assert (await failure_of(served)).reason == "status_307"
    assert not other


@pytest.mark.parametrize(
    ("fault", "reason"), [pytest.param(break_off, "broken", id="in the middle"), pytest.param(hang_up, "broken", id="at once")]
)
async def test_a_lost_connection_is_tried_again(served, no_waits, fault, reason):
    """A connection that ends early is a passing failure."""
    served.script = [fault, once(saying, "Hello")]
    assert await ask(served) == "Hello"
    served.script = [fault]
    assert (await failure_of(served)).reason == reason


async def test_a_server_that_is_not_there_is_unreachable(no_waits, waits):
    """Nobody listens: tried as often as allowed."""
    served = ModelServer()
    served.url = f"http://127.0.0.1:{unused_port()}/v1"
    assert (await failure_of(served, max_attempts=3)).reason == "unreachable"
    assert len(waits) == 2


async def test_a_stalled_attempt_leaves_time_for_the_next(served):
    """Each attempt has an equal share of the time that is left."""
    served.script = [stall, once(saying, "Hello")]
    assert await ask(served, timeout_seconds=2.0) == "Hello"
    assert len(served.requests) == 2


@pytest.mark.parametrize("attempts", [1, 2])
async def test_time_runs_out(served, attempts):
    """All attempts together end at the time limit."""
    served.script = [stall]
    assert (await failure_of(served, timeout_seconds=0.2, max_attempts=attempts)).reason == "timeout"


async def test_a_body_that_never_ends_runs_out_of_time(served):
    """The limit holds for the body as well, not only for its beginning."""

    async def drip(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"choices": ')
        await asyncio.Event().wait()

    served.script = [drip]
    assert (await failure_of(served, timeout_seconds=0.2, max_attempts=1)).reason == "timeout"


async def test_retry_after_is_waited_for(served, waits):
    """The server says when it wants to be asked again."""
    served.script = [once(status, 429, Retry_After="0.05"), once(status, 503, Retry_After="0"), once(saying, "Hello")]
    assert await ask(served, max_attempts=3) == "Hello"
    assert waits[0] == 0.05
    assert waits[1] > 0.05  # our own wait, where the server has none


async def test_retry_after_beyond_the_time_limit_ends_it(served, waits):
    """Waiting for longer than the whole question may take is no use."""
    served.script = [once(status, 429, Retry_After="11")]
    assert (await failure_of(served, max_attempts=3)).reason == "status_429"
    assert not waits
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("2", 2.0, id="whole"),
        pytest.param("0.5", 0.5, id="decimal"),
        pytest.param("", None, id="none"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1e9", None, id="exponent"),
        pytest.param("nan", None, id="no number"),
        pytest.param("99999999", None, id="absurd"),
        pytest.param("tomorrow", None, id="a word"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 0.0, id="a date that is past"),
        pytest.param("Wed, 99 Oct 2015 07:28:00 GMT", None, id="no date"),
    ],
)
def test_retry_after_is_a_number_or_a_date(text, seconds):
    """What cannot be read counts as not said."""
    assert seconds_until(text) == seconds


def test_retry_after_may_be_a_date_to_come():
    """A date is as good as a number."""
    assert 3_590 < seconds_until(email.utils.formatdate(time.time() + 3_600, usegmt=True)) <= 3_600


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"", "bad_answer", id="nothing"),
        pytest.param(b"<html>Welcome</html>", "bad_answer", id="a page"),
        pytest.param(b"\xff\xfe", "bad_answer", id="no UTF-8"),
        pytest.param(b"[]", "bad_answer", id="a list"),
        pytest.param(b"{}", "bad_answer", id="no choices"),
        pytest.param(b'{"choices": null}', "bad_answer", id="null choices"),
        pytest.param(b'{"choices": [{}]}', "bad_answer", id="no message"),
        pytest.param(b'{"choices": [{"message": {"content": 3}}]}', "bad_answer", id="a number"),
        pytest.param(b'{"choices": [{"message": {"content": "\xff"}}]}', "bad_answer", id="no UTF-8 in the text"),
        pytest.param(b'{"usage": ' + b"[" * 100_000, "bad_answer", id="deep"),
        pytest.param(b'{"choices": []}', "empty_answer", id="empty choices"),
        pytest.param(b'{"choices": [{"message": {}}]}', "empty_answer", id="no content"),
        pytest.param(b'{"choices": [{"message": {"content": null}}]}', "empty_answer", id="null"),
        pytest.param(b'{"choices": [{"message": {"content": ""}}]}', "empty_answer", id="empty"),
        pytest.param(b'{"choices": [{"message": {"content": " \\n"}}]}', "empty_answer", id="blank"),
    ],
)
async def test_garbage_is_a_failure_and_final(served, no_waits, raw, reason):
    """An answer of another shape is not asked for again: a model that does not speak the API will not learn it."""
    served.script = [once(web.Response, body=raw, content_type="application/json")]
    assert (await failure_of(served)).reason == reason
    assert len(served.requests) == 1


def padded(size):
    """A good answer of exactly so many bytes."""
    good = b'{"choices": [{"message": {"content": "Hello"}}]}'
    return good + b" " * (size - len(good))


async def test_a_huge_answer_is_refused(served, no_waits):
    """A mebibyte is taken, a byte more is not."""
    served.script = [once(web.Response, body=padded(MAX_ANSWER_BYTES))]
    assert await ask(served) == "Hello"
    served.script = [once(web.Response, body=padded(MAX_ANSWER_BYTES + 1))]
    assert (await failure_of(served)).reason == "too_large"


async def test_an_endless_answer_is_cut_off(served):
    """No more is read than may be kept, however long the server goes on."""
    written = 0

    async def pour(request):
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65_536)
            written += 65_536

    served.script = [pour]
    assert (await failure_of(served)).reason == "too_large"
    assert written < 100 * MAX_ANSWER_BYTES


async def test_a_json_object_is_asked_for(served):
    """`is_json` becomes the API's `response_format`; without it the key is absent."""
    served.script = [once(saying, "{}")]
    await ask(served, is_json=True)
    await ask(served)
    bodies = [body for _, body in served.requests]
    assert bodies[0]["response_format"] == {"type": "json_object"}
    assert "response_format" not in bodies[1]


@pytest.mark.parametrize("number", [400, 422])
async def test_a_server_that_refuses_formats_is_asked_without(served, number):
    """Once for the whole model: it is remembered."""
    served.script = [once(status, number), once(saying, "{}")]
    async with ChatModel(settings(served, max_attempts=1)) as model:
        for _ in range(2):
            assert await model.complete("s", "u", is_json=True) == "{}"
    assert ["response_format" in body for _, body in served.requests] == [True, False, False]


async def test_a_400_for_another_reason_stays_one(served, no_waits):
    """When the question is refused without a format too, that is the reason, and nothing is remembered."""
    served.script = [once(status, 400)]
    async with ChatModel(settings(served)) as model:
        for _ in range(2):
            with pytest.raises(ModelFailed, match="status_400"):
                await model.complete("s", "u", is_json=True)
    assert ["response_format" in body for _, body in served.requests] == [True, False, True, False]


async def test_other_refusals_have_nothing_to_do_with_formats(served):
    """A 401 is not asked again without."""
    served.script = [once(status, 401)]
    assert (await failure_of(served, is_json=True)).reason == "status_401"
    assert len(served.requests) == 1


async def test_four_questions_are_asked_at_once(served):
    """More wait until there is room, and all are answered."""
    gate = asyncio.Event()

    async def wait(request):
        await gate.wait()
        return saying("Hello")

    served.script = [wait]
    async with ChatModel(settings(served)) as model, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(model.complete("s", "u")) for _ in range(6)]
        await until(lambda: len(served.requests) == 4)
        for _ in range(20):  # turns of the loop in which a fifth could start
            await asyncio.sleep(0)
        assert len(served.requests) == 4
        gate.set()
    assert [task.result() for task in asked] == ["Hello"] * 6


async def test_waiting_for_room_is_within_the_time_limit(served):
    """A question that found no room says so and was never sent."""
    async with ChatModel(settings(served, timeout_seconds=0.05)) as model:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(model._room.acquire())
        with pytest.raises(ModelFailed, match="busy"):
            await model.complete("s", "u")
        for _ in range(4):
            model._room.release()
        assert not served.requests


async def test_room_is_given_back_after_failures(served, no_waits):
    """A question that failed or was cancelled does not narrow the room."""
    served.script = [once(status, 500), once(status, 500), stall, once(saying, "Hello")]
    async with ChatModel(settings(served)) as model:
        with pytest.raises(ModelFailed):
            await model.complete("s", "u")
        asked = asyncio.create_task(model.complete("s", "u"))
        await until(lambda: len(served.requests) == 3)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert model._room._value == 4
        assert await model.complete("s", "u") == "Hello"


async def test_a_model_must_be_open(served):
    """A question before or after is a mistake in the program."""
    model = ChatModel(settings(served))
    with pytest.raises(RuntimeError, match="async with"):
        await model.complete("s", "u")
    async with model:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await model.complete("s", "u")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(once(status, 401), id="refused"),
        pytest.param(once(status, 500), id="failing"),
        pytest.param(break_off, id="broken"),
        pytest.param(hang_up, id="hung up"),
        pytest.param(once(web.Response, text="garbage"), id="garbage"),
        pytest.param(once(status, 400), id="format refused"),
        pytest.param(stall, id="stalled"),
    ],
)
async def test_the_key_is_in_no_error_and_no_log(served, no_waits, monkeypatch, caplog, capsys, fault):
    """Whatever goes wrong, the key stays in the header."""
    monkeypatch.setenv(VARIABLE, KEY)
    caplog.set_level("DEBUG")
    served.script = [fault]
    with structlog.testing.capture_logs() as logged:
        model = ChatModel(settings(served, timeout_seconds=0.2 if fault is stall else 10.0))
        async with model:
            with pytest.raises(ModelFailed) as caught:
                await model.complete("s", "u", is_json=True)
            said = [repr(model), str(model)]
    error = caught.value
    said += [str(error), repr(error), *traceback.format_exception(error), caplog.text, repr(logged), *capsys.readouterr()]
    assert served.requests[0][0]["Authorization"] == f"Bearer {KEY}"
    assert not [text for text in said if KEY in text]


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("http://127.0.0.1:11434/v1", id="local"),
        pytest.param("https://api.example.com/v1/", id="slash"),
        pytest.param("  https://api.example.com/v1 ", id="blanks"),
        pytest.param("http://[::1]:8080", id="IPv6"),
        pytest.param("https://api.example.com/v1///", id="slashes"),
    ],
)
def test_an_address_is_taken(base_url):
    """With or without a slash at its end, the path follows after one."""
    model = ChatModel(LlmSection(base_url=base_url, model="small"))
    assert model._url == base_url.strip().rstrip("/") + "/chat/completions"


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("", id="empty"),
        pytest.param("127.0.0.1:11434", id="no scheme"),
        pytest.param("ftp://api.example.com", id="another scheme"),
        pytest.param("http://", id="no host"),
        pytest.param("http:///v1", id="a path only"),
        pytest.param("http://[::1/v1", id="half an IPv6 address"),
        pytest.param("http://api.example.com:99999", id="no such port"),
        pytest.param("http://api.example.com:0", id="port 0"),
        pytest.param("http://api.example.com/v1?key=abc", id="query"),
        pytest.param("http://api.example.com/v1#a", id="fragment"),
        pytest.param("http://api.example.com/a b", id="a blank inside"),
        pytest.param("http://api.exa\x00mple.com", id="control character"),
        pytest.param("https://user:hunter2@api.example.com/v1", id="credentials"),
        pytest.param("https://hunter2@api.example.com/v1", id="a name"),
    ],
)
def test_an_address_that_is_none_stops_the_start(base_url):
    """The error names the setting and never repeats what may hold a secret."""
    with pytest.raises(StartupError, match=r"^\[llm\] base_url must ") as caught:
        ChatModel(LlmSection(base_url=base_url, model="small"))
    assert caught.value.field == "llm.base_url"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("model", ["", "  "])
def test_a_model_must_be_named(model):
    """An address alone is half a setting."""
    with pytest.raises(StartupError, match=r"^\[llm\] model: ") as caught:
        ChatModel(LlmSection(base_url="http://127.0.0.1:1/v1", model=model))
    assert caught.value.field == "llm.model"


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "a\x7fb"])
def test_a_key_that_is_no_header_stops_the_start(monkeypatch, key):
    """The error names the variable and not what it holds."""
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(StartupError, match=VARIABLE) as caught:
        ChatModel(LlmSection(base_url="http://127.0.0.1:1/v1", model="small", api_key_env=VARIABLE))
    assert key not in str(caught.value)
    assert caught.value.field == "llm.api_key_env"


def test_a_model_is_configured_by_its_address():
    """Off until there is a `base_url`."""
    assert not is_configured(LlmSection())
    assert not is_configured(LlmSection(model="small"))
    assert is_configured(LlmSection(base_url="http://127.0.0.1:1/v1", model="small"))


async def test_cookies_are_not_kept(served):
    """A model has no memory of the questions before."""

    async def set_cookie(request):
        response = saying("Hello")
        response.set_cookie("session", "1")
        return response

    served.url = served.url.replace("127.0.0.1", "localhost")  # an address has no cookies
    served.script = [set_cookie]
    async with ChatModel(settings(served)) as model:
        await model.complete("s", "u")
        await model.complete("s", "u")
    assert "Cookie" not in served.requests[1][0]
