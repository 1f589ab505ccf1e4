"""Agents, and the search for those that can serve a demand: input rules, projection, and FTS5 with bm25.

A capability that the lexicon knows is indexed under its canonical name, so a demand in one language finds
an agent that speaks the other. Capabilities outside the lexicon are found by their words. Every function is
short and works on the connection it is given: writing ones inside the transaction that stores the event,
others on a reader."""

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from server.eventlog.writer import Connection
from server.http.text_rules import Id
from server.surfaces.demands.understanding import Understanding, find_terms, find_words, fold, normalise, plain_words
from towow.errors import InvalidBody
from towow.events import Event, NewEvent, new_event

SOURCE = "towow"
KIND = "agent"
REGISTERED = "agent.registered"
REMOVED = "agent.removed"

AGENT_ID = Id("agent_id", 128 - len(f"{KIND}:"))
MAX_NAME_CHARACTERS = 200
MAX_CAPABILITIES = 50
MAX_CAPABILITY_CHARACTERS = 200
MAX_DESCRIPTION_CHARACTERS = 2_000

_MAX_QUERY_WORDS = 200
_MAX_ROWS = 1_000  # agents that are looked at, best first
_REASON_CHARACTERS = 200
_WEIGHTS = "10.0, 4.0, 1.0, 1.0"  # of the columns concepts, words, name, description in bm25


class RegisteredAgent(msgspec.Struct, frozen=True):
    """An agent's registration; `sample` marks those that come with the program."""

    agent_id: str
    name: str
    capabilities: tuple[str, ...]
    description: str = ""
    sample: bool = False


# The registration of an agent.


def validate_agent(
    agent_id: object, name: object, capabilities: object, description: object = "", *, sample: bool = False
) -> RegisteredAgent:
    """The agent, trimmed and without repeated capabilities. Raises `InvalidBody` with the field and its limits."""
    agent_id = AGENT_ID.in_body(agent_id)
    if not isinstance(capabilities, list | tuple) or not 1 <= len(capabilities) <= MAX_CAPABILITIES:
        raise InvalidBody(f"capabilities must be a list of 1 to {MAX_CAPABILITIES} texts", field="capabilities")
    offered = (_line(text, f"capabilities.{index}", 1, MAX_CAPABILITY_CHARACTERS) for index, text in enumerate(capabilities))
    return RegisteredAgent(
        agent_id,
        _line(name, "name", 1, MAX_NAME_CHARACTERS),
        tuple(dict.fromkeys(offered)),
        _line(description, "description", 0, MAX_DESCRIPTION_CHARACTERS, more="\n\t"),
        sample,
    )


def _line(value: object, field: str, shortest: int, longest: int, *, more: str = "") -> str:
    text = value.strip() if isinstance(value, str) else None
    if text is None or not shortest <= len(text) <= longest:
        raise InvalidBody(f"{field} must be a text of {shortest} to {longest} characters", field=field)
    for character in text:
        is_control = (character < " " and character not in more) or "\x7f" <= character <= "\x9f"
        if is_control or "\ud800" <= character <= "\udfff":
            raise InvalidBody(f"{field} must not contain U+{ord(character):04X}", field=field)
    return text


def stream_of(agent_id: str) -> str:
    """The stream of an agent."""
    return f"{KIND}:{agent_id}"


def agent_registered(agent: RegisteredAgent, *, event_id: str | None = None) -> NewEvent:
    """The event that registers an agent, or replaces its earlier registration."""
    payload = msgspec.to_builtins(agent)
    return new_event(stream_of(agent.agent_id), REGISTERED, payload, event_id=event_id, source=SOURCE)


def agent_removed(agent_id: str) -> NewEvent:
    """The event that takes an agent off the list."""
    return new_event(stream_of(agent_id), REMOVED, {"agent_id": agent_id}, source=SOURCE)


# The projection.


def project_agent(connection: Connection, event: Event) -> None:
    """Keep `agents` and its index in step with one event of an agent's stream; again the same is no change.

    Raises `InvalidBody` for what `POST /api/agents` would not take: another agent's id, or text over the
    limits."""
    if event.event_type not in (REGISTERED, REMOVED):
        return
    agent_id = event.stream.partition(":")[2]
    payload = event.payload
    if payload.get("agent_id") != agent_id:
        raise InvalidBody("agent_id must be that of the stream", field="payload.agent_id")
    known = connection.execute("SELECT seq FROM agents WHERE agent_id = ?", (agent_id,)).fetchone()
    if known and known[0] >= event.seq:
        return
    agent = None
    if event.event_type == REGISTERED:
        agent = validate_agent(
            agent_id,
            payload.get("name"),
            payload.get("capabilities"),
            payload.get("description", ""),
            sample=payload.get("sample") is True,
        )
    if known:
        connection.execute("DELETE FROM agents_fts WHERE rowid = ?", known)
        connection.execute("DELETE FROM agents WHERE agent_id = ?", (agent_id,))
    if agent:
        _insert(connection, agent, event)


def _insert(connection: Connection, agent: RegisteredAgent, event: Event) -> None:
    connection.execute(
        "INSERT INTO agents (agent_id, name, capabilities, description, sample, registered_at, seq)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            agent.agent_id,
            agent.name,
            msgspec.json.encode(agent.capabilities).decode(),
            agent.description,
            int(agent.sample),
            event.timestamp,
            event.seq,
        ),
    )
    offered = [_read_capability(text) for text in agent.capabilities]
    connection.execute(
        "INSERT INTO agents_fts (rowid, concepts, words, name, description) VALUES (?, ?, ?, ?, ?)",
        (
            event.seq,
            " ".join(concept for item in offered for concept in sorted(item.concepts)),
            " ".join(word for item in offered for word in sorted(item.words)),
            _index_text(agent.name),
            _index_text(agent.description),
        ),
    )


@lru_cache(maxsize=4096)
def concepts_of(text: str) -> frozenset[str]:
    """The canonical names that a capability text goes by."""
    return _read_capability(text).concepts


class _Capability(NamedTuple):
    concepts: frozenset[str]
    words: frozenset[str]  # outside the concepts


def _read_capability(text: str) -> _Capability:
    """One capability as the index knows it."""
    folded = fold(normalise(text))
    terms = find_terms(folded)
    words = find_words(folded, [(term.start, term.end) for term in terms])
    return _Capability(frozenset(term.concept for term in terms if term.concept), frozenset(word.token for word in words))


def _index_text(text: str) -> str:
    return " ".join(word.token for word in find_words(fold(normalise(text)), ()))


# Reading.

_AGENT_COLUMNS = "agent_id, name, capabilities, description, sample, registered_at, seq"


def list_agents(connection: Connection) -> list[dict[str, Any]]:
    """All agents, in the order of their registration."""
    rows = connection.execute(f"SELECT {_AGENT_COLUMNS} FROM agents ORDER BY seq").fetchall()  # noqa: S608 - constant
    return [_agent_of(row) for row in rows]


def get_agent(connection: Connection, agent_id: str) -> dict[str, Any] | None:
    """One agent, or None when it is not registered."""
    sql = f"SELECT {_AGENT_COLUMNS} FROM agents WHERE agent_id = ?"  # noqa: S608 - constant
    row = connection.execute(sql, (agent_id,)).fetchone()
    return _agent_of(row) if row else None


def _agent_of(row: Sequence[Any]) -> dict[str, Any]:
    agent_id, name, capabilities, description, sample, registered_at, seq = row
    return {
        "agent_id": agent_id,
        "name": name,
        "capabilities": msgspec.json.decode(capabilities),
        "description": description,
        "sample": bool(sample),
        "registered_at": registered_at,
        "seq": seq,
    }


# Searching.


def search_candidates(
    connection: Connection, understanding: Understanding, raw_input: str, limit: int, excluded: Collection[str] = ()
) -> list[dict[str, Any]]:
    """At most `limit` agents that offer something a demand asks for: agent_id, name, reason, score, capabilities; best first.

    `capabilities` are those that match: by their canonical name, or as the agent words them. Agents whose id is in
    `excluded` are passed over.

    The score is bm25's, made positive; ties are in the order of agent_id. When there are more than `limit`,
    the best agent for each wanted capability is kept before a second one for another. Stop words find
    nobody."""
    wanted = dict(understanding.capabilities)
    words = dict(plain_words(raw_input)[:_MAX_QUERY_WORDS])
    query = _query(wanted, words)
    if not query or limit < 1:
        return []
    rows = connection.execute(
        f"SELECT a.agent_id, a.name, a.capabilities, f.concepts, -bm25(agents_fts, {_WEIGHTS}) AS score"  # noqa: S608
        " FROM agents_fts AS f JOIN agents AS a ON a.seq = f.rowid WHERE agents_fts MATCH ?"
        " ORDER BY score DESC, a.agent_id LIMIT ?",
        (query, _MAX_ROWS),
    ).fetchall()
    found = []
    for agent_id, name, capabilities, concepts, score in rows:
        reasons = {concept: f"{concept}: {wanted[concept]}" for concept in wanted if concept in concepts.split()}
        reasons |= _word_reasons(capabilities, words)
        if reasons and agent_id not in excluded:
            reason = "; ".join(reasons.values())[:_REASON_CHARACTERS]
            found.append((_round(score), agent_id, name, reason, frozenset(reasons)))
    found.sort(key=lambda row: (-row[0], row[1]))
    return [
        {"agent_id": agent_id, "name": name, "reason": reason, "score": score, "capabilities": sorted(matched)}
        for score, agent_id, name, reason, matched in _covering(found, limit)
    ]


def _query(wanted: dict[str, str], words: dict[str, str]) -> str:
    """The FTS5 query: quoted tokens only, so that no word of a demand is syntax. Empty without tokens."""
    parts = []
    if wanted:
        parts.append(f"concepts : ({_any_of(wanted)})")
    if words:
        parts.append(f"{{words name description}} : ({_any_of(words)})")
    return " OR ".join(parts)


def _any_of(tokens: dict[str, str]) -> str:
    return " OR ".join('"' + token.replace('"', '""').replace("\0", "") + '"' for token in tokens)


def _word_reasons(capabilities: str, words: dict[str, str]) -> dict[str, str]:
    """Reasons by words, for capabilities without a known concept, or with two wanted words beside it.

    One word beside a known concept says how, not what: wedding photography is no answer to a wedding singer."""
    reasons: dict[str, str] = {}
    if words:
        for text in msgspec.json.decode(capabilities):
            offered = _read_capability(text)
            shared = [token for token in words if token in offered.words]
            if len(shared) >= (2 if offered.concepts else 1):
                reasons[text] = f"{text}: {' '.join(_merge([words[token] for token in shared]))}"
    return reasons


def _merge(words: list[str]) -> list[str]:
    """Words in their order, with two-character words that overlap put together again: 养蜂, 蜂人 is 养蜂人."""
    merged: list[str] = []
    for word in words:
        if merged and len(word) == 2 and not word.isascii() and merged[-1][-1] == word[0]:
            merged[-1] += word[1]
        else:
            merged.append(word)
    return merged


_Found = tuple[float, str, str, str, frozenset[str]]


def _covering(found: list[_Found], limit: int) -> list[_Found]:
    """The first `limit` rows, but the best row of every reason before the second of any; in the given order."""
    if len(found) <= limit:
        return found
    covered: set[str] = set()
    first: list[_Found] = []
    rest: list[_Found] = []
    for row in found:
        (rest if row[4] <= covered else first).append(row)
        covered |= row[4]
    kept = [*first, *rest][:limit]
    return sorted(kept, key=lambda row: (-row[0], row[1]))


def _round(score: float) -> float:
    """Four significant digits, never 0: bm25 is as small as 1e-6 for what most agents offer."""
    score = max(float(score), 1e-9)
    return round(score, 3 - math.floor(math.log10(score)))
