"""What participants may not say over HTTP: every limit and type of offers, feedback and cancellations."""

import json

import pytest

from server.surfaces.demands import inputs
from tests.support import assert_error
from tests.support.negotiations import DAN, VENUE, register, stay_understood, submit, unchanged, until_phase

OFFER = {"agent_id": "ann", "content": "a hall", "capabilities": ["venue"]}
NESTED = json.loads('{"a":' * 62 + "1" + "}" * 62)
BAD_OFFERS = [
    pytest.param({"agent_id": None}, "invalid_body", "agent_id", id="null for the agent"),
    pytest.param({"agent_id": 7}, "invalid_body", "agent_id", id="a number for the agent"),
    pytest.param({"content": None}, "invalid_body", "content", id="no content"),
    pytest.param({"content": " \n "}, "invalid_body", "content", id="blank content"),
    pytest.param({"content": 7}, "invalid_body", "content", id="a number for content"),
    pytest.param({"content": "a\x00b"}, "invalid_body", "content", id="NUL in content"),
    pytest.param({"content": "x" * 10_001}, "too_large", "content", id="long content"),
    pytest.param({"capabilities": None}, "invalid_body", "capabilities", id="no capabilities"),
    pytest.param({"capabilities": []}, "invalid_body", "capabilities", id="an empty list"),
    pytest.param({"capabilities": "venue"}, "invalid_body", "capabilities", id="a text for the list"),
    pytest.param({"capabilities": ["x"] * 21}, "invalid_body", "capabilities", id="too many capabilities"),
    pytest.param({"capabilities": ["a", " "]}, "invalid_body", "capabilities.1", id="a blank capability"),
    pytest.param({"capabilities": ["a\nb"]}, "invalid_body", "capabilities.0", id="two lines in a capability"),
    pytest.param({"capabilities": ["x" * 201]}, "invalid_body", "capabilities.0", id="a long capability"),
    pytest.param({"capabilities": ["a\x1b"]}, "invalid_body", "capabilities.0", id="a control character"),
    pytest.param({"capabilities": [7]}, "invalid_body", "capabilities[0]", id="a number for a capability"),
    pytest.param({"terms": []}, "invalid_body", "terms", id="a list for terms"),
    pytest.param({"terms": {"price": "100"}}, "invalid_body", "terms.price", id="a text for the price"),
    pytest.param({"terms": {"price": True}}, "invalid_body", "terms.price", id="a truth for the price"),
    pytest.param({"terms": {"price": -1}}, "invalid_body", "terms.price", id="a negative price"),
    pytest.param({"terms": {"price": 1e13}}, "invalid_body", "terms.price", id="an absurd price"),
    pytest.param({"terms": {"currency": ""}}, "invalid_body", "terms.currency", id="an empty currency"),
    pytest.param({"terms": {"currency": 7}}, "invalid_body", "terms.currency", id="a number for the currency"),
    pytest.param({"terms": {"currency": "x" * 17}}, "invalid_body", "terms.currency", id="a long currency"),
    pytest.param({"terms": {"x": "y" * inputs.MAX_TERMS_BYTES}}, "too_large", "terms", id="long terms"),
    pytest.param({"terms": NESTED}, "invalid_body", "terms", id="terms nested too deeply for a proposal"),
    pytest.param({"needs": "x"}, "invalid_body", "needs", id="a text for needs"),
    pytest.param({"needs": ["x"] * 11}, "invalid_body", "needs", id="too many needs"),
    pytest.param({"needs": ["a", ""]}, "invalid_body", "needs.1", id="an empty need"),
    pytest.param({"needs": ["x" * 201]}, "invalid_body", "needs.0", id="a long need"),
    pytest.param({"decline": "yes"}, "invalid_body", "decline", id="a text for a truth"),
    pytest.param({"decline": True}, "invalid_body", "capabilities", id="a refusal with capabilities"),
    pytest.param({"decline": True, "capabilities": None, "terms": {}}, "invalid_body", "terms", id="a refusal with terms"),
    pytest.param({"decline": True, "capabilities": None, "needs": []}, "invalid_body", "needs", id="a refusal with needs"),
    pytest.param({"decline": True, "capabilities": None, "content": "x" * 501}, "too_large", "content", id="a long refusal"),
    pytest.param({"written_by": "llm"}, "invalid_body", "written_by", id="an unknown field"),
]
ACCEPT = {"agent_id": "ann", "proposal_id": "p", "decision": "accept"}
BAD_FEEDBACK = [
    pytest.param({"agent_id": None}, "invalid_body", "agent_id", id="nobody"),
    pytest.param({"user_id": "u-1"}, "invalid_body", "agent_id", id="two at once"),
    pytest.param({"agent_id": 7}, "invalid_body", "agent_id", id="a number for the agent"),
    pytest.param({"agent_id": None, "user_id": "x" * 201}, "invalid_body", "user_id", id="a long user"),
    pytest.param({"agent_id": None, "user_id": "a\nb"}, "invalid_body", "user_id", id="two lines of user"),
    pytest.param({"proposal_id": None}, "invalid_body", "proposal_id", id="null for the proposal"),
    pytest.param({"proposal_id": 1}, "invalid_body", "proposal_id", id="a number for the proposal"),
    pytest.param({"decision": "maybe"}, "invalid_body", "decision", id="an unknown decision"),
    pytest.param({"decision": None}, "invalid_body", "decision", id="no decision"),
    pytest.param({"decision": "revise"}, "invalid_body", "comment", id="a revision without a wish"),
    pytest.param({"decision": "revise", "comment": " ", "terms": {}}, "invalid_body", "comment", id="a blank revision"),
    pytest.param({"comment": "x" * (inputs.MAX_COMMENT_CHARACTERS + 1)}, "too_large", "comment", id="a long comment"),
    pytest.param({"comment": "a\x00"}, "invalid_body", "comment", id="NUL in the comment"),
    pytest.param({"comment": 7}, "invalid_body", "comment", id="a number for the comment"),
    pytest.param({"terms": {"price": -1}}, "invalid_body", "terms.price", id="a negative price"),
    pytest.param({"terms": {"x": "y" * inputs.MAX_TERMS_BYTES}}, "too_large", "terms", id="long terms"),
    pytest.param({"agent_id": None, "user_id": "u-1", "terms": {"price": 1}}, "invalid_body", "terms", id="the user's terms"),
    pytest.param({"round": 1}, "invalid_body", "round", id="an unknown field"),
]
BAD_CANCELLATIONS = [
    pytest.param({"reason": "x" * 501}, "too_large", "reason", id="a long reason"),
    pytest.param({"reason": "a\x00"}, "invalid_body", "reason", id="NUL in the reason"),
    pytest.param({"reason": 7}, "invalid_body", "reason", id="a number for the reason"),
    pytest.param({"user_id": 7}, "invalid_body", "user_id", id="a number for the user"),
    pytest.param({"user_id": "x" * 201}, "invalid_body", "user_id", id="a long user"),
    pytest.param({"by": "parent"}, "invalid_body", "by", id="an unknown field"),
]


async def assert_unreadable(client, monkeypatch, action, given, code, field):
    """The request is refused and the demand is as it was."""
    demand_id = await stay_understood(client, monkeypatch)
    before = await unchanged(client, demand_id)
    answer = await client.post(f"/api/demand/{demand_id}/{action}", json=given)
    error = await assert_error(answer, code, status={"invalid_body": 422, "too_large": 413}[code], field=field)
    assert "limit" in error or code != "too_large"
    assert await unchanged(client, demand_id) == before


@pytest.mark.parametrize(("changes", "code", "field"), BAD_OFFERS)
async def test_a_bad_offer_is_refused_with_the_field(client, monkeypatch, changes, code, field):
    """Every limit, every type; nothing is stored."""
    await assert_unreadable(client, monkeypatch, "offers", OFFER | changes, code, field)


@pytest.mark.parametrize(("changes", "code", "field"), BAD_FEEDBACK)
async def test_bad_feedback_is_refused_with_the_field(client, monkeypatch, changes, code, field):
    """Every limit, every type; nothing is stored."""
    await assert_unreadable(client, monkeypatch, "feedback", ACCEPT | changes, code, field)


@pytest.mark.parametrize(("given", "code", "field"), BAD_CANCELLATIONS)
async def test_a_bad_cancellation_is_refused_with_the_field(client, monkeypatch, given, code, field):
    """Every limit, every type; nothing is stored."""
    await assert_unreadable(client, monkeypatch, "cancel", given, code, field)


@pytest.mark.parametrize("missing", ["agent_id", "proposal_id", "decision"])
async def test_what_is_missing_is_named(client, missing):
    """422 with the field."""
    given = {key: value for key, value in ACCEPT.items() if key != missing}
    await assert_error(await client.post("/api/demand/d-1/feedback", json=given), "invalid_body", status=422, field=missing)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"content": "场" * 10_000}, id="content"),
        pytest.param({"capabilities": [f"{n:0200}" for n in range(20)]}, id="capabilities"),
        pytest.param({"needs": [f"{n:0200}" for n in range(10)]}, id="needs"),
        pytest.param({"terms": {"x": "y" * (inputs.MAX_TERMS_BYTES - 8)}}, id="terms"),
        pytest.param({"terms": {"price": 1e12, "currency": "x" * 16}}, id="the price"),
        pytest.param({"terms": {"price": 0}}, id="for nothing"),
        pytest.param({"terms": None, "needs": None, "decline": False}, id="nulls"),
    ],
)
async def test_an_offer_at_the_limit_is_taken(client, changes):
    """Limits are inclusive."""
    await register(client, VENUE, DAN)
    demand_id = (await submit(client, "We need a venue"))["demand_id"]
    await until_phase(client, demand_id, "collecting_offers")
    answer = await client.post(f"/api/demand/{demand_id}/offers", json=OFFER | changes)
    assert answer.status == 201, await answer.text()
