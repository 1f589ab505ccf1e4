"""
A demand's life as tables and pure functions: what may follow what, what commands become, what events change.

A demand is understood, then filtered (agents are found for it), then negotiated until it ends. What is
added to a negotiation is added as rows of `TRANSITIONS` and `_CHANGES`. Whoever may append to a demand's
stream can append anything: an event without a row only moves the position, and of a payload only what has
the right type counts.
"""

import secrets
from collections.abc import Callable
from typing import Any, Literal, assert_never

import msgspec

from server.errors import Conflict, InvalidBody, TooLarge
from server.events import Event, NewEvent, new_event
from server.surfaces.demands.understanding import Understanding

SOURCE = "towow"  # who publishes what this surface decides
KIND = "demand"

UNDERSTOOD = "towow.demand.understood"
FILTERED = "towow.filter.completed"
FINALIZED = "towow.proposal.finalized"
FAILED = "towow.negotiation.failed"
CANCELLED = "towow.negotiation.cancelled"

TERMINAL_EVENTS = frozenset({FINALIZED, FAILED, CANCELLED})

Status = Literal["processing", "finalized", "failed", "cancelled"]

# (phase, event type) -> phase. "new" is a stream in which nothing was asked yet.
TRANSITIONS: dict[tuple[str, str], str] = {
    ("new", UNDERSTOOD): "understood",
    ("understood", FILTERED): "filtered",
    ("understood", FINALIZED): "finalized",
    ("understood", FAILED): "failed",
    ("understood", CANCELLED): "cancelled",
    ("filtered", FINALIZED): "finalized",
    ("filtered", FAILED): "failed",
    ("filtered", CANCELLED): "cancelled",
}

# Phases that end a demand; every other one is "processing".
_STATUSES: dict[str, Status] = {"finalized": "finalized", "failed": "failed", "cancelled": "cancelled"}

MAX_RAW_INPUT_CHARACTERS = 10_000
MAX_USER_ID_CHARACTERS = 200
NO_CANDIDATES = "no_candidates"


class Candidate(msgspec.Struct, frozen=True):
    """
    An agent that may serve a demand; `reason` is "capability: term", `score` is higher for a better match.
    """

    agent_id: str
    name: str = ""
    reason: str = ""
    score: float = 0.0


class DemandState(msgspec.Struct, frozen=True):
    """
    A demand folded from its stream; `created_*` are of the understanding, 0 and "" before it.
    """

    demand_id: str
    channel_id: str
    phase: str = "new"
    current_round: int = 1
    raw_input: str = ""
    user_id: str = "anonymous"
    surface_demand: str = ""
    confidence: str = "low"
    capabilities: tuple[tuple[str, str], ...] = ()
    language: str = "en"
    candidates: tuple[Candidate, ...] = ()
    created_at: str = ""
    updated_at: str = ""
    created_seq: int = 0
    last_seq: int = 0
    revision: int = 0

    @property
    def status(self) -> Status:
        """
        What a client is told: `processing` until the demand has ended.
        """
        return status_of(self.phase)

    @property
    def exists(self) -> bool:
        """
        Whether somebody has asked for something; a stream may hold only notes.
        """
        return self.phase != "new"


class Submit(msgspec.Struct, frozen=True):
    """
    The command to start a demand; the inputs have been checked by `check_raw_input` and `check_user_id`.
    """

    demand_id: str
    raw_input: str
    user_id: str
    understanding: Understanding


class RecordCandidates(msgspec.Struct, frozen=True):
    """
    The command to record which agents were found, best first; none ends the demand.
    """

    candidates: tuple[dict[str, Any], ...]


class Fail(msgspec.Struct, frozen=True):
    """
    The command to end a demand that cannot go on; `reason` is a code, `message` is for people.
    """

    reason: str
    message: str


Command = Submit | RecordCandidates | Fail


def status_of(phase: str) -> Status:
    """
    The status of a phase.
    """
    return _STATUSES.get(phase, "processing")


def new_demand_id() -> str:
    """
    A new id, `d-` and eight random hex digits; submitting retries when it is taken.
    """
    return f"d-{secrets.token_hex(4)}"


def channel_id_of(demand_id: str) -> str:
    """
    The channel of a demand: `collab-` and the whole id without its `d-`.
    """
    return f"collab-{demand_id.removeprefix('d-')}"


def stream_of(demand_id: str) -> str:
    """
    The stream of a demand.
    """
    return f"{KIND}:{demand_id}"


def initial(demand_id: str) -> DemandState:
    """
    The state of a demand of which no event is known.
    """
    return DemandState(demand_id, channel_id_of(demand_id))


# Events to state.


def evolve(state: DemandState, event: Event) -> DemandState:
    """
    The state after one more event of the stream; an event at or before `last_seq` changes nothing.
    """
    if event.seq <= state.last_seq:
        return state
    changes: dict[str, Any] = {}
    phase = TRANSITIONS.get((state.phase, event.event_type))
    if phase is not None:
        changes["phase"] = phase
        if read := _CHANGES.get(event.event_type):
            changes.update(read(event))
    return msgspec.structs.replace(state, last_seq=event.seq, revision=event.revision, updated_at=event.timestamp, **changes)


def _read_understood(event: Event) -> dict[str, Any]:
    payload = event.payload
    return {
        "raw_input": _text(payload, "raw_input"),
        "user_id": _text(payload, "user_id") or "anonymous",
        "surface_demand": _text(payload, "surface_demand") or _text(payload, "raw_input"),
        "confidence": _text(payload, "confidence") or "low",
        "language": _text(payload, "language") or "en",
        "capabilities": tuple(
            (item["capability"], _text(item, "term")) for item in _objects(payload, "capabilities") if _text(item, "capability")
        ),
        "created_at": event.timestamp,
        "created_seq": event.seq,
    }


def _read_filtered(event: Event) -> dict[str, Any]:
    candidates = tuple(
        Candidate(item["agent_id"], _text(item, "name"), _text(item, "reason"), _number(item, "score"))
        for item in _objects(event.payload, "candidates")
        if _text(item, "agent_id")
    )
    return {"candidates": candidates}


# What an event changes besides the phase.
_CHANGES: dict[str, Callable[[Event], dict[str, Any]]] = {
    UNDERSTOOD: _read_understood,
    FILTERED: _read_filtered,
}


def _text(payload: dict[str, Any], key: str) -> str:
    value = payload.get(key)
    return value if isinstance(value, str) else ""


def _number(payload: dict[str, Any], key: str) -> float:
    value = payload.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _objects(payload: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = payload.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


# Commands to events.


def decide(state: DemandState, command: Command) -> list[NewEvent]:
    """
    The events that a command becomes, in order. Raises `Conflict` with `phase` when that forbids it.
    """
    match command:
        case Submit():
            return _submit(state, command)
        case RecordCandidates():
            return _record_candidates(state, command)
        case Fail():
            _require(state, FAILED, f"demand {state.demand_id} is {state.phase}")
            return [_event(state.demand_id, FAILED, reason=command.reason, message=command.message)]
        case _:
            assert_never(command)


def _submit(state: DemandState, command: Submit) -> list[NewEvent]:
    _require(state, UNDERSTOOD, f"demand {state.demand_id} was already submitted")
    understanding = command.understanding
    return [
        _event(
            command.demand_id,
            UNDERSTOOD,
            surface_demand=understanding.surface_demand,
            confidence=understanding.confidence,
            capabilities=_capabilities(understanding.capabilities),
            language=understanding.language,
            raw_input=command.raw_input,
            user_id=command.user_id,
        )
    ]


def _record_candidates(state: DemandState, command: RecordCandidates) -> list[NewEvent]:
    _require(
        state,
        FILTERED,
        f"demand {state.demand_id} is {state.phase}; candidates are recorded once",
    )
    events = [_event(state.demand_id, FILTERED, candidates=list(command.candidates))]
    if not command.candidates:
        message = "No registered agent offers what this demand asks for."
        events.append(_event(state.demand_id, FAILED, reason=NO_CANDIDATES, message=message))
    return events


def _require(state: DemandState, event_type: str, message: str) -> None:
    if (state.phase, event_type) not in TRANSITIONS:
        raise Conflict(message, phase=state.phase)


def _event(demand_id: str, event_type: str, **fields: Any) -> NewEvent:
    payload = {"demand_id": demand_id, "channel_id": channel_id_of(demand_id), **fields}
    return new_event(stream_of(demand_id), event_type, payload, source=SOURCE)


# Input.


def check_raw_input(text: str, limit: int = MAX_RAW_INPUT_CHARACTERS) -> str:
    """
    The text as it is stored: trimmed, with LF line ends. Raises `InvalidBody`, or `TooLarge` over `limit`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    _refuse_controls(text, "raw_input")
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise InvalidBody("raw_input is blank: say what you need", field="raw_input")
    if len(text) > limit:
        raise TooLarge(f"raw_input has {len(text)} characters, the limit is {limit}", field="raw_input", limit=limit)
    return text


def check_user_id(text: str | None) -> str:
    """
    The user id trimmed, `anonymous` when absent or blank. Raises `InvalidBody` unless a line of up to 200.
    """
    text = (text or "").strip() or "anonymous"
    _refuse_controls(text, "user_id")
    if len(text) > MAX_USER_ID_CHARACTERS or "\n" in text:
        raise InvalidBody(f"user_id must be one line of 1 to {MAX_USER_ID_CHARACTERS} characters", field="user_id")
    return text


def _refuse_controls(text: str, field: str) -> None:
    for character in text:
        if (character < " " and character not in "\n\t") or "\x7f" <= character <= "\x9f":
            raise InvalidBody(f"{field} must not contain control characters (U+{ord(character):04X})", field=field)
        if "\ud800" <= character <= "\udfff":
            raise InvalidBody(f"{field} must be valid Unicode", field=field)


# Renderers: what the HTTP interface answers.


def _capabilities(pairs: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"capability": capability, "term": term} for capability, term in pairs]


def understanding_of(state: DemandState) -> Understanding:
    """
    The understanding that a state remembers, for a matching that goes on after a restart.
    """
    return msgspec.convert(
        {
            "surface_demand": state.surface_demand,
            "capabilities": state.capabilities,
            "confidence": state.confidence if state.confidence in ("high", "medium") else "low",
            "language": "zh" if state.language == "zh" else "en",
        },
        Understanding,
    )


def _understanding(state: DemandState) -> dict[str, Any]:
    return {
        "surface_demand": state.surface_demand,
        "confidence": state.confidence,
        "capabilities": _capabilities(state.capabilities),
        "language": state.language,
    }


def submitted(state: DemandState) -> dict[str, Any]:
    """
    The answer to a submission; `seq` is that of the understanding.
    """
    return {
        "demand_id": state.demand_id,
        "channel_id": state.channel_id,
        "status": state.status,
        "understanding": _understanding(state),
        "seq": state.created_seq,
    }


def summary(state: DemandState) -> dict[str, Any]:
    """
    One line of the list of demands.
    """
    return {
        "demand_id": state.demand_id,
        "channel_id": state.channel_id,
        "status": state.status,
        "phase": state.phase,
        "surface_demand": state.surface_demand,
        "user_id": state.user_id,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "current_round": state.current_round,
        "last_seq": state.last_seq,
        "created_seq": state.created_seq,
    }


def detail(state: DemandState) -> dict[str, Any]:
    """
    Everything about one demand: its summary, how it was understood, what was said, and the candidates.
    """
    return {
        **summary(state),
        "understanding": _understanding(state),
        "raw_input": state.raw_input,
        "candidates": [msgspec.structs.asdict(candidate) for candidate in state.candidates],
    }


def status(state: DemandState) -> dict[str, Any]:
    """
    The short status of one demand.
    """
    return {
        "demand_id": state.demand_id,
        "status": state.status,
        "current_round": state.current_round,
        "phase": state.phase,
        "last_seq": state.last_seq,
    }


class _Ids(msgspec.Struct):
    demand_id: msgspec.Raw = msgspec.Raw()
    channel_id: msgspec.Raw = msgspec.Raw()


_decode_ids = msgspec.json.Decoder(_Ids).decode


def encode_sse_event(event: Event) -> bytes:
    """
    An event as source 000 shows it, live and in history: one line of JSON, safe after `data: `.

    Its payload always has `demand_id` and `channel_id`; where the stored one lacks them, the stream's.
    """
    payload = event.payload_json
    ids = _decode_ids(payload)
    demand_id = event.stream.partition(":")[2]
    missing = {} if bytes(ids.demand_id) else {"demand_id": demand_id}
    if not bytes(ids.channel_id):
        missing["channel_id"] = channel_id_of(demand_id)
    if missing:
        head = msgspec.json.encode(missing).decode()
        payload = head if payload == "{}" else f"{head[:-1]},{payload[1:]}"
    return (
        f'{{"event_id":"{event.event_id}","event_type":"{event.event_type}","timestamp":"{event.timestamp}",'
        f'"payload":{payload},"seq":{event.seq},"revision":{event.revision},"source":"{event.source}"}}'
    ).encode()


def render_sse_event(event: Event) -> dict[str, Any]:
    """
    What `encode_sse_event` encodes: event_id, event_type, timestamp, payload, and seq, revision, source.
    """
    rendered: dict[str, Any] = msgspec.json.decode(encode_sse_event(event))
    return rendered
