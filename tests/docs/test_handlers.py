"""Handlers say in their docstrings what they raise, take and return; all of it is read from the source, or asked for."""

import inspect
import re

import pytest

from server.auth.authenticator import (
    Authenticator,
    require_answer,
    require_any,
    require_append,
    require_managed,
    require_read,
    require_to_operate,
)
from server.eventlog import command_key
from server.eventlog.database import Database
from server.eventlog.log import EventLog
from server.http import params
from tests.docs.test_routes import NAMES, ROUTES
from tests.support.raised import Raised
from towow import events

# What cannot be read from the source: an append is answered by another task, and the rest is the middleware's.
KNOWN = {
    EventLog.append: {"storage_full", "unavailable"},
    EventLog.submit: {"storage_full", "unavailable"},
    EventLog.refresh: set(),
    command_key.carried_out: set(),  # of every command with an Idempotency-Key: see docs/errors.md
    Database.read: set(),  # whatever reads may take longer than it may: see docs/errors.md
    require_read: {"forbidden"},
    require_append: {"forbidden"},
    require_any: {"forbidden"},
    require_answer: {"forbidden"},
    require_managed: {"forbidden"},
    require_to_operate: {"forbidden"},
    Authenticator.log_in: {"unauthorized"},
    Authenticator.authenticate: set(),  # the middleware's, and what `GET /api/session` answers without
    Authenticator.issue_ticket: {"forbidden"},
    Authenticator.log_out: {"storage_full", "unavailable"},
    # These check again what a surface's own `inputs` have checked.
    events.new_event: set(),
    events.check_input: set(),
    events.payload_json: set(),
}
# An append may be refused for what the stream has become, where the surface does not see to it that it cannot.
OF_AN_APPEND = {"conflict", "stream_ended", "revision_mismatch"}
# A fault of what is stored, and of no request: whatever reads events may meet it, as it may meet `internal`.
OF_THE_FILE = {"damaged"}
# Code that a handler shares with others, and never comes to.
UNREACHABLE = {
    "GET /": {"not_found"},  # the page comes with the program
    "GET /favicon.ico": {"not_found"},
    # Of patterns and several streams nobody says that one does not exist; these two wait for their first event.
    "GET /api/operators/{agent_id}/events": {"not_found"},
    "GET /api/broadcast/events": {"not_found"},
    "GET /agent_backend/api/sse/events/{session_id}": {"not_found"},
    "POST /novachat": {"not_found"},  # the run has just been begun
    "POST /loomichat": {"not_found"},
    # One `decide` has the rules of all commands of a surface.
    "POST /api/demand/submit": {"not_found"},
    "POST /api/manual/escalate": {"not_found"},
    "POST /agent_backend/api/sse/notify/{session_id}": {"gone"},
}
RAISED = Raised(KNOWN)
CODES_IN_ORDER = [
    "invalid_request",
    "invalid_body",
    "too_large",
    "unauthorized",
    "forbidden",
    "not_found",
    "conflict",
    "stream_ended",
    "gone",
    "revision_mismatch",
    "unsupported_media_type",
    "request_timeout",
    "too_many_requests",
    "storage_full",
    "unavailable",
]


def raised_by(method, handler):
    """The codes of the errors that a request of a route may come to: the handler's, and what is checked before it."""
    codes = RAISED.codes(handler.__func__, type(handler.__self__))
    if params.query_names(handler) is not None:
        codes.add("invalid_request")
    if method != "GET":
        codes.add("too_many_requests")
    return codes


def documented_codes(handler):
    """The codes that stand after `Errors:` in the docstring of a handler."""
    found = re.findall(r"Errors:\s*([^.]*)\.", inspect.getdoc(handler))
    return {code for each in found for code in re.findall(r"[a-z_]+", re.sub(r"\(.*?\)", "", each))}


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_handler_documents_what_it_raises_and_nothing_else(route):
    """Read from its source and from everything that it calls; besides, only what an append may be refused for."""
    (method, path), handler = route
    raised = raised_by(method, handler) - UNREACHABLE.get(f"{method} {path}", set()) - OF_THE_FILE
    assert raised - documented_codes(handler) == set()
    more = OF_AN_APPEND if "storage_full" in raised else set()
    assert documented_codes(handler) - raised - more == set()


def test_what_is_called_unreachable_would_be_found():
    """The table of exceptions has no line too many."""
    for (method, path), handler in ROUTES:
        assert UNREACHABLE.get(f"{method} {path}", set()) <= raised_by(method, handler)
    assert set(UNREACHABLE) <= set(NAMES)


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_handler_documents_the_query_parameters_that_it_takes(route):
    """Each is named with its `=`, but for cursors, which go by "a cursor in any form", and for what all streams take."""
    _, handler = route
    text = inspect.getdoc(handler)
    names = set(params.query_names(handler) or ())
    shown = set(re.findall(r"`([a-z_]+)=", text))
    assert shown - names - {"ticket"} == set()
    assert names - shown - set(params.STREAM) == set()


@pytest.mark.parametrize("path", ["/health", "/api/events/health", "/sse/health", "/api", "/api/session", "/api/model"])
async def test_what_a_route_returns_is_what_it_documents(client, path):
    """The fields of its answer, no more and no fewer, in their order."""
    (shape,) = re.findall(r"200 `{(.*?)}`", " ".join(inspect.getdoc(dict(ROUTES)["GET", path]).split()))
    assert re.findall(r"(\w+)(?:: [^,]+)?(?:, |$)", shape) == list(await (await client.get(path)).json())
