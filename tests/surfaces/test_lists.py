"""The lists of the surfaces have one lister: paging, order and filters are the same everywhere, and a page costs its rows."""

from typing import NamedTuple

import pytest

from server.app import LOG, make_app
from server.eventlog.queries import RowPage
from server.surfaces.demands import routes as demands
from server.surfaces.generations import routes as generations
from server.surfaces.sessions import routes as sessions
from server.surfaces.tasks import routes as tasks
from tests.support import assert_error, nobody_acts
from towow.events import MAX_SEQ, new_event

LISTINGS = [demands.LISTING, sessions.LISTING, tasks.LISTING, generations.LISTING]


async def fill_demands(client):
    """Four demands of two users, two of them ended, and a sub-negotiation."""
    understood = [
        new_event(f"demand:d-{n}", "towow.demand.understood", {"surface_demand": "tea", "user_id": user})
        for n, user in enumerate(("ann", "bob", "ann", "bob"))
    ]
    part = {"surface_demand": "cups", "user_id": "ann", "parent_demand_id": "d-0", "depth": 1}
    ended = [
        new_event("demand:d-1", "towow.negotiation.failed", {"reason": "no_offers"}),
        new_event("demand:d-2", "towow.negotiation.cancelled", {"reason": "cancelled_by_user"}),
    ]
    await client.app[LOG].append([*understood, new_event("demand:d-0.1", "towow.demand.understood", part), *ended])


async def fill_sessions(client):
    """Four sessions: one that is the bot's, one that waits, and two that an operator has, of which one is closed."""
    for n in range(4):
        await post(client, "/api/manual/message", session_name=f"s-{n}", role="user", content="hello")
    for n in range(1, 4):
        await post(client, "/api/manual/escalate", session_name=f"s-{n}")
    for n in (2, 3):
        await post(client, f"/api/sessions/s-{n}/takeover", agent_id=f"op-{n}")
    await post(client, "/api/sessions/s-3/release", agent_id="op-3", close=True)


async def fill_tasks(client):
    """Four tasks, one of each status."""
    for n, event_type in enumerate(("note", "task_complete", "task_failed", "task_cancelled")):
        await post(client, f"/api/tasks/t-{n}/events", event_type="phase_enter")
        await post(client, f"/api/tasks/t-{n}/events", event_type=event_type)


async def fill_runs(client):
    """Four runs: two modes, two sessions, one of each status."""
    for n in range(4):
        started = {"mode": "loomi" if n == 2 else "nova", "prompt": str(n), "session_id": f"s-{n % 2}", "timeout_seconds": 60}
        agents = [{"name": "a", "task_description": "writes", "stage": 1}]
        await client.app[LOG].append([new_event(f"run:r-{n}", "run_started", {**started, "agents": agents})])
    await client.app[LOG].append([new_event("run:r-0", "run_complete", {"status": "completed", "result": "x"})])
    await client.app[LOG].append([new_event("run:r-1", "run_failed", {"status": "failed", "reason": "timeout"})])
    await post(client, "/api/runs/r-3/cancel")


async def post(client, path, **fields):
    """POST, and insist that it was done."""
    answer = await client.post(path, json=fields)
    assert answer.status in (200, 201), await answer.text()


class Case(NamedTuple):
    """A list: where it is, how it is filled, and which of its items each query finds, newest first."""

    path: str
    name: str
    key: str
    fill: object
    found: dict


CASES = [
    Case(
        "/api/demand",
        "demands",
        "demand_id",
        fill_demands,
        {
            "": ["d-3", "d-2", "d-1", "d-0"],
            "status=processing": ["d-3", "d-0"],
            "status=failed": ["d-1"],
            "status=finalized": [],
            "user_id=ann": ["d-2", "d-0"],
            "user_id=ann&status=cancelled": ["d-2"],
            "user_id=nobody": [],
            "parent=d-0": ["d-0.1"],
            "parent=d-0&status=failed": [],
        },
    ),
    Case(
        "/api/sessions",
        "sessions",
        "session_name",
        fill_sessions,
        {
            "": ["s-3", "s-2", "s-1", "s-0"],
            "status=bot": ["s-0"],
            "status=closed": ["s-3"],
            "agent_id=op-2": ["s-2"],
            "agent_id=op-2&status=with_operator": ["s-2"],
            "agent_id=op-2&status=bot": [],
            "agent_id=op-3": [],
        },
    ),
    Case(
        "/api/tasks",
        "tasks",
        "task_id",
        fill_tasks,
        {"": ["t-3", "t-2", "t-1", "t-0"], "status=running": ["t-0"], "status=cancelled": ["t-3"]},
    ),
    Case(
        "/api/runs",
        "runs",
        "run_id",
        fill_runs,
        {
            "": ["r-3", "r-2", "r-1", "r-0"],
            "status=running": ["r-2"],
            "status=completed": ["r-0"],
            "status=failed": ["r-1"],
            "status=failed&mode=loomi": [],
            "mode=loomi": ["r-2"],
            "session_id=s-1": ["r-3", "r-1"],
            "session_id=s-1&status=cancelled&mode=nova": ["r-3"],
        },
    ),
]
EVERY = [pytest.param(case, id=case.name) for case in CASES]


@pytest.fixture
async def client(aiohttp_client, quiet_config):
    """The application without anybody who coordinates demands or writes runs: what is listed stays as it was made."""
    with nobody_acts("coordinator", "generations"):
        yield await aiohttp_client(make_app(quiet_config))


async def page_of(client, case, query):
    """A page of a list, decoded."""
    answer = await client.get(f"{case.path}?{query}")
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def ids_of(client, case, query):
    """Which items a page has."""
    return [each[case.key] for each in (await page_of(client, case, query))[case.name]]


@pytest.mark.parametrize("case", EVERY)
async def test_a_list_is_filtered_in_both_orders(client, case):
    """Alone and together; the oldest first is the newest first backwards."""
    await case.fill(client)
    for query, expected in case.found.items():
        assert await ids_of(client, case, query) == expected, query
        assert await ids_of(client, case, f"{query}&order=newest") == expected, query
        assert await ids_of(client, case, f"{query}&order=oldest") == expected[::-1], query


@pytest.mark.parametrize("case", EVERY)
async def test_a_list_is_paged_in_both_orders(client, case):
    """`before` and `after` are exclusive; `has_more` is false on the last page, also on a full one."""
    await case.fill(client)
    for order, bound in (("newest", "before"), ("oldest", "after")):
        for limit in (1, 2, 3, 4):
            seen, query, has_more, pages = [], f"order={order}&limit={limit}", True, 0
            while has_more:
                page = await page_of(client, case, query)
                assert (page["head_seq"], page["epoch"]) == (client.app[LOG].head_seq, client.app[LOG].epoch)
                seen += page[case.name]
                query = f"order={order}&limit={limit}&{bound}={seen[-1]['created_seq']}"
                has_more, pages = page["has_more"], pages + 1
            expected = case.found[""] if order == "newest" else case.found[""][::-1]
            assert ([each[case.key] for each in seen], pages) == (expected, -(-4 // limit))
    first, last = seen[0]["created_seq"], seen[-1]["created_seq"]
    assert await ids_of(client, case, f"after={first}&before={last}") == case.found[""][1:-1]
    assert await ids_of(client, case, f"before={first}") == []
    assert await ids_of(client, case, f"before={MAX_SEQ}&after=0") == case.found[""]


@pytest.mark.parametrize("case", EVERY)
async def test_a_list_that_cannot_be_is_refused_with_the_same_words(client, case):
    """Never silently another list: 400 with the field."""
    for name in ("limit", "before", "after", "order", "status"):
        for value in ("x", "-1", "", "*", "New", "1_0", "%D9%A3", "9" * 20):
            answer = await client.get(f"{case.path}?{name}={value}")
            error = await assert_error(answer, "invalid_request", status=400, field=name)
            assert error["message"].startswith(f"{name} must be ")
        await assert_error(await client.get(f"{case.path}?{name}=1&{name}=1"), "invalid_request", status=400, field=name)
    for limit in (0, 201):
        await assert_error(await client.get(f"{case.path}?limit={limit}"), "invalid_request", status=400, field="limit")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/demand?parent=a%20b", "parent"),
        ("/api/demand?parent=", "parent"),
        ("/api/demand?parent=x&parent=y", "parent"),
        ("/api/demand?user_id=a%0Ab", "user_id"),
        (f"/api/demand?user_id={'x' * 201}", "user_id"),
        ("/api/sessions?agent_id=queue", "agent_id"),
        ("/api/sessions?agent_id=a:b", "agent_id"),
        ("/api/runs?mode=opera", "mode"),
        ("/api/runs?session_id=a:b", "session_id"),
    ],
)
async def test_a_filter_that_no_row_can_match_is_refused(client, path, field):
    """Rather than an empty list."""
    await assert_error(await client.get(path), "invalid_request", status=400, field=field)


def pages_of(listing):
    """Every filter alone and none, in both orders."""
    empty = {each.column: None for each in listing.filters.values() if each.or_null}
    wheres = [empty, *({**empty, each.column: "x"} for each in listing.filters.values())]
    for where in wheres:
        for is_oldest_first in (False, True):
            name = f"{listing.name} by {', '.join(where) or 'nothing'}, {'oldest' if is_oldest_first else 'newest'} first"
            yield pytest.param(listing.read, RowPage(50, is_oldest_first=is_oldest_first, where=where), id=name)


@pytest.mark.parametrize(("read", "page"), [case for listing in LISTINGS for case in pages_of(listing)])
def test_every_filter_walks_an_index_in_the_order_of_the_list(migrated, read, page):
    """A page costs its rows however many there are: no table is scanned, and nothing is sorted."""
    statements = []
    migrated.set_trace_callback(statements.append)
    try:
        read(migrated, page)
    finally:
        migrated.set_trace_callback(None)
    plan = [row[3] for row in migrated.execute(f"EXPLAIN QUERY PLAN {statements[0]}").fetchall()]
    first = plan[0]
    assert "USING INDEX" in first, plan
    assert not any("TEMP B-TREE" in step for step in plan)
    for column in page.where:
        assert f"{column.removeprefix('r.')}=?" in first or page.where[column] is None, plan
