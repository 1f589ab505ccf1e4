"""Query names: an API route refuses those that it does not take, so that a misspelt filter is never ignored."""

import re

import pytest

from server.app import LOG, make_app
from server.config import Config
from server.http import params
from tests.support import assert_error, publish, read_frames
from tests.support.tokens import bearer, token, with_tokens

ROUTES = [route for route in make_app(Config()).router.routes() if route.method != "HEAD"]
# Pages, files and checks of health: whoever calls them adds what he likes.
FREE = {
    "/",
    "/favicon.ico",
    "/{page}.html",
    "/static/{name}",
    "/health",
    "/health/live",
    "/health/ready",
    "/api/events/health",
    "/sse/health",
}
FREE |= {"/agent_backend/api/sse/health/{session_id}"}
API = [route for route in ROUTES if route.resource.canonical not in FREE]


def path_of(route):
    """A path of the route; what it names need not exist."""
    path = route.resource.canonical.replace("{page}", "tasks").replace("{name}", "app.css")
    return re.sub(r"\{[a-z_]+\}", "x", path)


def named(routes):
    """Routes as test cases."""
    return [pytest.param(route, id=f"{route.method} {route.resource.canonical}") for route in routes]


@pytest.mark.parametrize("route", named(API))
async def test_an_api_route_refuses_a_name_that_it_does_not_take(client, route):
    """400 with the name, and with those that it takes; nothing is done."""
    answer = await client.request(route.method, f"{path_of(route)}?no_such_name=1")
    error = await assert_error(answer, "invalid_request", status=400, field="no_such_name")
    for name in params.query_names(route.handler):
        assert name in error["message"]
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize("route", named(route for route in ROUTES if route not in API))
async def test_pages_files_and_checks_of_health_take_any_name(client, route):
    """What a cache, a link or a monitor adds does not matter."""
    path = path_of(route)
    answer, plain = await client.get(f"{path}?no_such_name=1&v=3"), await client.get(path)
    assert answer.status == plain.status != 400


@pytest.mark.parametrize("name", ["_", "_=1712345", "utm_source=x", "x_trace=1", "x_"])
async def test_names_that_caches_and_links_add_are_free(client, name):
    """They begin with `_`, `utm_` or `x_`."""
    await publish(client, 1)
    assert (await client.get(f"/api/events?limit=1&{name}")).status == 200
    await assert_error(await client.get(f"/api/events?limit=1&a{name}"), "invalid_request", status=400)


@pytest.mark.parametrize("route", named(route for route in API if set(params.STREAM) <= set(params.query_names(route.handler))))
async def test_a_stream_takes_a_cursor_in_every_spelling(client, route):
    """Libraries in the place of `EventSource` add one to any address."""
    for name in ("since_seq", "last_event_id", "lastEventId", "lastEventID", "after", "since"):
        answer = await client.request(route.method, f"{path_of(route)}?{name}=0&keepalive=event", json={"prompt": " "})
        assert answer.status != 400, await answer.text()
        answer.close()


def test_every_stream_takes_the_names_of_streams():
    """A route that streams reads the cursor, and so declares it."""
    streams = [route for route in API if "format" in (params.query_names(route.handler) or ())]
    assert streams
    assert all(set(params.STREAM) <= set(params.query_names(route.handler)) for route in streams)


@pytest.mark.parametrize("name", ["lastEventId", "lastEventID"])
async def test_a_cursor_in_the_spelling_of_a_library_is_used(client, name):
    """Known and ignored would be worse than refused."""
    await publish(client, 3)
    async with client.get(f"/api/events/stream?stream=task:a&{name}=2") as response:
        assert (await read_frames(response, 1))[0].data["seq"] == 3


async def test_a_path_that_is_not_there_says_so_first(client):
    """404 and 405, whatever the query."""
    await assert_error(await client.get("/api/nothing?no_such_name=1"), "not_found", status=404)
    await assert_error(await client.delete("/api/events?no_such_name=1"), "method_not_allowed", status=405)


async def test_without_credentials_nothing_is_said_of_a_query(aiohttp_client, quiet_config):
    """401 comes before 400; credentials in the query go with every route."""
    client = await aiohttp_client(make_app(with_tokens(quiet_config, token("ann", "read:*"))))
    await assert_error(await client.get("/api/events?no_such_name=1", headers={"Authorization": "Bearer x"}), "unauthorized")
    await assert_error(await client.get("/api/events?no_such_name=1", headers=bearer("ann")), "invalid_request", status=400)
    assert (await client.get("/api/events?token=x&ticket=y", headers=bearer("ann"))).status == 200


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("sinceSeq", "sinceSeq"),
        ("no_such_name", "no_such_name"),
        ("rYsIGDKrqz69UU6BGjt6n7s1FvUGWtyE", "query"),
        ("x" * 25, "query"),
        ("x" * 3_000, "query"),
        ("\0\n<b>", "query"),
    ],
)
async def test_an_unknown_name_is_repeated_only_when_it_cannot_be_a_credential(client, name, field):
    """A token that was pasted into the wrong place comes back in no error and no log line."""
    response = await client.get("/api/events", params={name: "1"})
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["field"]) == (400, "invalid_request", field)
    assert (name in error["message"]) == (field == name)
