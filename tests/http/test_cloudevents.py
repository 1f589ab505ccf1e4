"""CloudEvents 1.0 over HTTP: structured, binary and batch in; single and batch out; what goes in comes out."""

import json

import pytest

from server.app import LOG
from server.http import cloudevents
from tests.support import assert_error, publish
from towow.errors import InvalidBody, InvalidRequest
from towow.events import Event

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
ACCEPT_ONE = {"Accept": "application/cloudevents+json"}
ACCEPT_BATCH = {"Accept": "application/cloudevents-batch+json"}


def cloud_event(**changes):
    """A structured CloudEvent; None takes an attribute away."""
    attributes = {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "https://agents.example/bob",
        "type": "offer.submitted",
        "subject": "demand:d-1",
        "data": {"price": 300, "text": "场地"},
    }
    return {name: value for name, value in (attributes | changes).items() if value is not None}


def binary(**changes):
    """The headers of a binary CloudEvent; None takes one away."""
    headers = {
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "evt-1",
        "ce-source": "https://agents.example/bob",
        "ce-type": "offer.submitted",
        "ce-subject": "demand:d-1",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


async def the_only_event(client):
    """The one event of the log, decoded."""
    page = await (await client.get("/api/events?since_seq=0")).json()
    assert len(page["events"]) == 1
    return page["events"][0]


def assert_stored(event):
    """What the log says of `cloud_event()`, however it came."""
    assert event["event_id"] == "evt-1"
    assert event["source"] == "https://agents.example/bob"
    assert event["event_type"] == "offer.submitted"
    assert event["stream"] == "demand:d-1"
    assert event["payload"] == {"price": 300, "text": "场地"}


# In


async def test_a_structured_event_is_stored(client):
    """`id` is the event_id, `subject` the stream, `data` the payload; again, it is the same event."""
    answer = await client.post("/api/events", json=cloud_event(), headers=STRUCTURED)
    assert answer.status == 201
    assert await answer.json() == {"seq": 1, "revision": 1, "event_id": "evt-1", "followers": 0}
    assert_stored(await the_only_event(client))
    again = await client.post("/api/events", json=cloud_event(), headers=STRUCTURED)
    assert again.status == 200
    assert (await again.json())["seq"] == 1


async def test_a_binary_event_is_stored(client):
    """Attributes in headers, data in the body: the same event as in structured mode."""
    data = json.dumps({"price": 300, "text": "场地"})
    assert (await client.post("/api/events", data=data, headers=binary())).status == 201
    assert_stored(await the_only_event(client))
    assert (await client.post("/api/events", json=cloud_event(), headers=STRUCTURED)).status == 200


async def test_header_names_of_a_binary_event_are_read_in_any_case(client):
    """HTTP says so; some clients send `CE-Id`."""
    headers = {name.upper() if name.startswith("ce-") else name: value for name, value in binary().items()}
    assert (await client.post("/api/events", data=json.dumps(cloud_event()["data"]), headers=headers)).status == 201
    assert_stored(await the_only_event(client))


async def test_a_batch_is_stored_in_its_order(client):
    """All or none, with a receipt for each."""
    events = [cloud_event(id=f"evt-{n}", data={"n": n}) for n in range(3)]
    answer = await client.post("/api/events", json=events, headers=BATCH)
    assert answer.status == 201
    assert [receipt["seq"] for receipt in (await answer.json())["events"]] == [1, 2, 3]
    bad = [cloud_event(id="evt-7"), cloud_event(id="evt-8", specversion="0.3")]
    await assert_error(await client.post("/api/events", json=bad, headers=BATCH), "invalid_body", status=422)
    assert client.app[LOG].head_seq == 3


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"time": "2026-01-01T00:00:00Z"}, id="realistic: time"),
        pytest.param({"datacontenttype": "application/json"}, id="realistic: content type"),
        pytest.param({"datacontenttype": "application/json; charset=utf-8"}, id="edge: content type with a charset"),
        pytest.param({"time": "2026-01-01t00:00:00.123456+08:00"}, id="edge: time with offset and fraction"),
        pytest.param({"sequence": "0000000000000000007", "revision": 3}, id="edge: what this server adds itself"),
        pytest.param({"sequence": 7, "revision": "3"}, id="edge: the same as other types"),
        pytest.param({"data": {}}, id="edge: empty data"),
    ],
)
async def test_optional_attributes_are_read_and_the_log_assigns_its_own(client, changes):
    """Time is checked and then replaced by when it was appended; sequence and revision are the log's to give."""
    assert (await client.post("/api/events", json=cloud_event(**changes), headers=STRUCTURED)).status == 201
    event = await the_only_event(client)
    assert (event["seq"], event["revision"]) == (1, 1)
    assert event["timestamp"] != changes.get("time")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"specversion": "0.3"}, "specversion", id="another version"),
        pytest.param({"specversion": "1"}, "specversion", id="a version that is not written so"),
        pytest.param({"specversion": 1.0}, "specversion", id="a number for a version"),
        pytest.param({"specversion": None}, "specversion", id="no version"),
        pytest.param({"id": None}, "id", id="no id"),
        pytest.param({"source": None}, "source", id="no source"),
        pytest.param({"type": None}, "type", id="no type"),
        pytest.param({"subject": None}, "subject", id="no subject, so no stream"),
        pytest.param({"data": None}, "data", id="no data"),
        pytest.param({"data": "text"}, "data", id="data that is no object"),
        pytest.param({"data_base64": "aGk="}, "data_base64", id="binary data"),
        pytest.param({"traceparent": "00-1"}, "traceparent", id="an unknown extension"),
        pytest.param({"dataschema": "https://x"}, "dataschema", id="a schema"),
        pytest.param({"datacontenttype": "text/xml"}, "datacontenttype", id="another content type"),
        pytest.param({"time": "yesterday"}, "time", id="a time that is none"),
        pytest.param({"time": "2026-01-01"}, "time", id="a date"),
        pytest.param({"id": ""}, "event_id", id="empty id"),
        pytest.param({"id": "7"}, "event_id", id="an id of digits alone"),
        pytest.param({"id": "a b"}, "event_id", id="an id with a blank"),
        pytest.param({"source": "a b"}, "source", id="a source with a blank"),
        pytest.param({"source": 'a"b'}, "source", id="a source with a quote"),
        pytest.param({"type": "a\nb"}, "event_type", id="a type with a newline"),
        pytest.param({"subject": "bob"}, "stream", id="a subject that is no stream"),
    ],
)
async def test_an_event_that_cannot_be_kept_as_it_is_is_refused(client, changes, field):
    """Nothing is dropped silently: the error names the attribute, and nothing is stored."""
    answer = await client.post("/api/events", json=cloud_event(**changes), headers=STRUCTURED)
    await assert_error(answer, "invalid_body", status=422, field=field)
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        pytest.param({"ce_id": None}, "invalid_request", "ce-id", id="no id"),
        pytest.param({"ce_source": None}, "invalid_request", "ce-source", id="no source"),
        pytest.param({"ce_type": None}, "invalid_request", "ce-type", id="no type"),
        pytest.param({"ce_subject": None}, "invalid_request", "ce-subject", id="no subject"),
        pytest.param({"ce_traceparent": "00-1"}, "invalid_request", "ce-traceparent", id="an unknown extension"),
        pytest.param({"ce_data": "{}"}, "invalid_request", "ce-data", id="data as a header"),
        pytest.param({"ce_specversion": "0.3"}, "invalid_body", "specversion", id="another version"),
        pytest.param({"ce_time": "never"}, "invalid_body", "time", id="a time that is none"),
        pytest.param({"ce_id": "\xff"}, "invalid_body", "event_id", id="an id that is not ASCII"),
    ],
)
async def test_a_binary_event_that_cannot_be_kept_is_refused(client, changes, code, field):
    """As in structured mode, with the name of the header."""
    await assert_error(await client.post("/api/events", data=b"{}", headers=binary(**changes)), code, field=field)
    assert client.app[LOG].head_seq == 0


@pytest.mark.parametrize("data", [b"", b"text", b"[]", b'"text"', b"{", b'{"a":NaN}', b"\xff"])
async def test_a_binary_event_needs_an_object_for_data(client, data):
    """The body goes through the one parser."""
    answer = await client.post("/api/events", data=data, headers=binary())
    assert answer.status in (400, 422)
    assert (await answer.json())["error"]["field"] == "data"
    assert client.app[LOG].head_seq == 0


async def test_a_header_given_twice_does_not_become_two_events(client):
    """Whatever is made of it, it is one event with one of the two ids, or none."""
    headers = [*binary().items(), ("ce-id", "evt-2")]
    assert (await client.post("/api/events", data=b"{}", headers=headers)).status in (201, 400, 422)
    assert client.app[LOG].head_seq <= 1


@pytest.mark.parametrize("body", [b"[]", b"{}", b"[1]", b"[{}]", b"null"])
async def test_a_batch_must_be_a_list_of_events(client, body):
    """An empty one is a mistake, too."""
    await assert_error(await client.post("/api/events", data=body, headers=BATCH), "invalid_body", status=422)


def test_the_modes_share_one_reader():
    """Structured and binary give the same input."""
    structured = cloudevents.parse_structured(json.dumps(cloud_event()).encode())
    assert structured == cloudevents.parse_binary(binary(), json.dumps(cloud_event()["data"]).encode())
    assert cloudevents.parse_batch(json.dumps([cloud_event()]).encode()) == [structured]
    with pytest.raises(InvalidRequest):
        cloudevents.parse_structured(b"{")
    with pytest.raises(InvalidBody):
        cloudevents.parse_batch(b"{}")


# Out


def test_a_stored_event_is_rendered_with_its_place():
    """`sequence` sorts as text, as the extension asks; `revision` is the place in the stream."""
    event = Event(7, "demand:d-1", 3, "evt-1", "offer", "2026-01-01T00:00:00.000Z", "bob", '{"n":1}')
    rendered = cloudevents.render(event)
    assert bytes(rendered.pop("data")) == b'{"n":1}'
    assert rendered == {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "bob",
        "type": "offer",
        "subject": "demand:d-1",
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "sequence": "0000000000000000007",
        "revision": 3,
    }


async def test_one_event_goes_out_as_a_cloudevent(client):
    """By Accept, by seq or by event_id; otherwise the canonical JSON."""
    await client.post("/api/events", json=cloud_event(), headers=STRUCTURED)
    for key in ("1", "evt-1"):
        answer = await client.get(f"/api/events/{key}", headers=ACCEPT_ONE)
        assert answer.headers["Content-Type"] == "application/cloudevents+json"
        found = json.loads(await answer.read())
        assert cloud_event().items() <= found.items()
    assert "specversion" not in await (await client.get("/api/events/1")).json()


async def test_a_page_goes_out_as_a_batch(client):
    """The same cursor and limit as every page."""
    await publish(client, 5)
    answer = await client.get("/api/events?stream=task:a&since_seq=1&limit=3", headers=ACCEPT_BATCH)
    assert answer.headers["Content-Type"] == "application/cloudevents-batch+json"
    batch = json.loads(await answer.read())
    assert [int(event["sequence"]) for event in batch] == [2, 3, 4]
    assert [event["data"] for event in batch] == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_what_comes_out_can_go_in_again(client):
    """A round trip is the same event, so copying a log elsewhere and repeating it stores nothing twice."""
    await publish(client, 3)
    batch = await (await client.get("/api/events?since_seq=0", headers=ACCEPT_BATCH)).read()
    answer = await client.post("/api/events", data=batch, headers=BATCH)
    assert answer.status == 200
    assert [receipt["seq"] for receipt in (await answer.json())["events"]] == [1, 2, 3]
    one = await (await client.get("/api/events/2", headers=ACCEPT_ONE)).read()
    assert (await client.post("/api/events", data=one, headers=STRUCTURED)).status == 200
    assert client.app[LOG].head_seq == 3
