"""CloudEvents 1.0 in and out: structured, batch and binary HTTP modes.

`id` is the event_id, `type` the event_type, `source` the source, `subject` the stream and `data` the payload. `time` is
checked and then replaced: the log's timestamp is when it appended. Out go two extensions, `sequence` (the seq) and
`revision`; coming in they are ignored, because the log assigns both. Any other extension is refused, not dropped."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from towow.errors import InvalidBody, InvalidRequest
from towow.events import Event, EventInput, parse_json

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)


class CloudEvent(msgspec.Struct, forbid_unknown_fields=True):
    """The attributes that are read, as in the specification."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    data: dict[str, Any]
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    sequence: str | int | None = None
    revision: int | str | None = None


_ONE = msgspec.json.Decoder(CloudEvent)
_MANY = msgspec.json.Decoder(list[CloudEvent])
_DATA = msgspec.json.Decoder(dict[str, Any])


def parse_structured(body: bytes) -> EventInput:
    """One event in structured mode."""
    return _checked(parse_json(body, _ONE))


def parse_batch(body: bytes) -> list[EventInput]:
    """Many events in batch mode."""
    return [_checked(event) for event in parse_json(body, _MANY)]


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether the attributes are in `ce-*` headers."""
    return "ce-specversion" in headers


def parse_binary(headers: Mapping[str, str], body: bytes) -> EventInput:
    """One event in binary mode: attributes in headers, data in the body."""
    attributes = {name[3:].lower(): value for name, value in headers.items() if name.lower().startswith("ce-")}
    unknown = sorted(attributes.keys() - set(CloudEvent.__struct_fields__) | attributes.keys() & {"data"})
    if unknown:
        raise InvalidRequest(f"the CloudEvents attribute {unknown[0][:40]} is not stored here", field=f"ce-{unknown[0][:40]}")
    for name in ("id", "source", "type", "subject"):
        if name not in attributes:
            raise InvalidRequest(f"the header ce-{name} is missing", field=f"ce-{name}")
    return _checked(CloudEvent(**attributes, data=parse_json(body, _DATA, field="data")))


def _checked(event: CloudEvent) -> EventInput:
    if event.specversion != "1.0":
        raise InvalidBody("specversion must be 1.0", field="specversion")
    if event.time is not None and not _TIME.match(event.time):
        raise InvalidBody("time must be an RFC 3339 timestamp", field="time")
    if event.datacontenttype is not None and event.datacontenttype.partition(";")[0].strip() != "application/json":
        raise InvalidBody("datacontenttype must be application/json", field="datacontenttype")
    if event.dataschema is not None:
        raise InvalidBody("dataschema is not stored here", field="dataschema")
    return EventInput(stream=event.subject, event_type=event.type, payload=event.data, event_id=event.id, source=event.source)


def render(event: Event) -> dict[str, Any]:
    """A stored event as a structured CloudEvent."""
    return {
        "specversion": "1.0",
        "id": event.event_id,
        "source": event.source,
        "type": event.event_type,
        "subject": event.stream,
        "time": event.timestamp,
        "datacontenttype": "application/json",
        "sequence": f"{event.seq:019d}",  # sorts as text, as the extension asks
        "revision": event.revision,
        "data": msgspec.Raw(event.payload_json.encode()),
    }
