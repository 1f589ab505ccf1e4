"""A negotiation told in the terminal, event by event: who was found, offers, each proposal as a table, answers, the end.

What sub-negotiations do is indented. Everything in an event is a stranger's text or a stranger's shape: it is
shown on one line, and what has not the right type is left out."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from server.cli.output import safe_text
from server.http.payloads import number_in, object_in, objects_in, text_in, texts_in
from towow.events import Event

_TIME_COLUMNS = 9  # "  12.3 s  "
_LONGEST_TEXT = 300  # characters of what an agent says
_ANSWERS = {"accept": ("accepts", "green"), "revise": ("wants it changed", "yellow"), "reject": ("rejects it", "red")}
_OUTCOMES = {"finalized": "agreed", "failed": "failed", "cancelled": "was cancelled", "timed_out": "took too long"}


class Narration:
    """Tells one demand and its sub-negotiations on `out`; times are seconds since `started`, an ISO-8601 timestamp."""

    def __init__(self, out: Console, demand_id: str, started: str) -> None:
        self._out = out
        self._demand_id = demand_id
        self._started = datetime.fromisoformat(started)

    def concerns(self, event: Event) -> bool:
        """Whether an event belongs to the demand or to one below it: their ids begin with its id and a dot."""
        demand_id = event.stream.partition(":")[2]
        return demand_id == self._demand_id or demand_id.startswith(f"{self._demand_id}.")

    def tell(self, event: Event) -> bool:
        """Show an event; True when it is the end of the demand."""
        depth = event.stream.partition(":")[2].removeprefix(self._demand_id).count(".")
        seconds = (datetime.fromisoformat(event.timestamp) - self._started).total_seconds()
        what = list(_sentences(event.event_type, event.payload, seconds, depth))
        if what:
            line = Table.grid()
            line.add_column(width=_TIME_COLUMNS, no_wrap=True, style="dim")
            line.add_column(overflow="fold")
            line.add_row(f"{seconds:5.1f} s", Padding(Group(*what), (0, 0, 0, 2 * depth)))
            self._out.print(line)
        return depth == 0 and event.event_type in (
            "towow.proposal.finalized",
            "towow.negotiation.failed",
            "towow.negotiation.cancelled",
        )


def _sentences(event_type: str, payload: dict[str, Any], seconds: float, depth: int) -> Iterator[RenderableType]:
    """What there is to see of an event; nothing for what was said before."""
    name = _text(payload, "name") or _text(payload, "agent_id") or _text(payload, "user_id") or "somebody"
    match event_type:
        case "towow.demand.understood":
            pass  # the first one heads everything, the others follow what triggered them
        case "towow.filter.completed":
            yield from _candidates(objects_in(payload, "candidates"))
        case "towow.demand.broadcast":
            yield Text(f"{len(_texts(payload, 'agent_ids'))} invited, {_within(payload, 'offers_within_seconds')} to offer")
        case "towow.offer.submitted":
            yield from _offer(name, object_in(payload, "offer"))
        case "towow.offer.declined":
            yield Text.assemble((name, "bold"), (" declines", "red"), _after(_text(payload, "reason")))
        case "towow.gap.identified":
            gap = _text(payload, "gap") or _words(_text(payload, "capability"))
            yield Text.assemble(("missing: ", "yellow"), gap)
        case "towow.subnet.triggered":
            yield Text(f"sub-negotiation for {_words(_text(payload, 'capability'))}", style="cyan")
        case "towow.subnet.completed":
            outcome = _OUTCOMES.get(_text(payload, "outcome"), "ended")
            yield Text(f"sub-negotiation for {_words(_text(payload, 'capability'))} {outcome}", style="cyan")
        case "towow.proposal.distributed":
            yield from _proposal(payload)
        case "towow.proposal.feedback":
            says, style = _ANSWERS.get(_text(payload, "decision"), ("answers", "dim"))
            yield Text.assemble((name, "bold"), (f" {says}", style), _after(_text(payload, "comment")))
        case "towow.proposal.finalized":
            yield from _agreement(payload, seconds, depth)
        case "towow.negotiation.failed":
            reason = _text(payload, "message") or _text(payload, "reason")
            yield Text.assemble((f"failed{_took(seconds, depth)}", "bold red"), _after(reason))
        case "towow.negotiation.cancelled":
            yield Text.assemble((f"cancelled{_took(seconds, depth)}", "bold red"), _after(_text(payload, "reason")))
        case _:
            yield Text(safe_text(event_type), style="dim")


def _candidates(candidates: list[dict[str, Any]]) -> Iterator[RenderableType]:
    yield Text(f"{len(candidates)} found" if candidates else "nobody was found", style="bold")
    if candidates:
        table = _table("candidate", "agent", "because")
        for each in candidates:
            table.add_row(_text(each, "name"), _text(each, "agent_id"), _text(each, "reason"))
        yield table


def _offer(name: str, offer: dict[str, Any]) -> Iterator[RenderableType]:
    what = ", ".join(_texts(offer, "capabilities"))
    price = _money(object_in(offer, "terms"), "price")
    yield Text.assemble((name, "bold"), " offers ", what or "something", f" for {price}" if price else "")
    content = _text(offer, "content")
    if content:
        yield Text(content, style="dim")


def _proposal(payload: dict[str, Any]) -> Iterator[RenderableType]:
    """The heading, a row for each agent, and what nobody covers."""
    number = payload.get("round")
    total = _money(payload, "total_price")
    heading = f"proposal {number}" if isinstance(number, int) else "proposal"
    yield Text(f"{heading}, {total} in all" if total else heading, style="bold magenta")
    table = _table("who", "what", "price", "conditions")
    for each in objects_in(payload, "assignments"):
        conditions = "; ".join(_texts(each, "conditions"))
        if _text(each, "subnet_id"):
            conditions = "; ".join(filter(None, ("agreed below", conditions)))
        what = ", ".join(_words(capability) for capability in _texts(each, "capabilities"))
        table.add_row(_text(each, "name") or _text(each, "agent_id"), what, _price(each), conditions)
    yield table
    missing = _texts(payload, "missing")
    if missing:
        yield Text(f"still missing: {', '.join(map(_words, missing))}", style="yellow")


def _agreement(payload: dict[str, Any], seconds: float, depth: int) -> Iterator[RenderableType]:
    proposal = object_in(payload, "proposal")
    total = _money(proposal, "total_price")
    number = payload.get("round")
    said = f"agreed{_took(seconds, depth)}"
    if isinstance(number, int) and depth == 0:
        said += f", in round {number}"
    missing = ", ".join(map(_words, _texts(proposal, "missing")))
    yield Text.assemble(
        (said, "bold green"), f": {total} in all" if total else "", (f"; still missing: {missing}" if missing else "", "yellow")
    )


def _took(seconds: float, depth: int) -> str:
    return f" after {seconds:.1f} s" if depth == 0 else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(
            column, justify="right" if column == "price" else "left", overflow="fold", no_wrap=column in ("price", "candidate")
        )
    return table


def _price(assignment: dict[str, Any]) -> str:
    """What is proposed, and below it what was asked for where that differs."""
    terms = object_in(assignment, "terms")
    price = _money(terms, "price")
    asked = number_in(assignment, "offered_price")
    return f"{price}\nasked {_amount(asked)}" if price and asked is not None and asked != terms["price"] else price


def _money(fields: dict[str, Any], key: str) -> str:
    """An amount with its currency, or nothing."""
    value = number_in(fields, key)
    return "" if value is None else f"{_amount(value)} {_text(fields, 'currency')}".rstrip()


def _amount(value: float) -> str:
    return f"{value:,.2f}".removesuffix(".00")


def _within(payload: dict[str, Any], key: str) -> str:
    seconds = number_in(payload, key)
    return "some time" if seconds is None else f"{seconds:g} s"


def _words(capability: str) -> str:
    return capability.replace("_", " ") or "something"


def _after(text: str) -> str:
    return f": {text}" if text else ""


def _shown(text: str) -> str:
    """A stranger's text on one line, cut when it is long."""
    text = safe_text(" ".join(text.split()))
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _text(fields: dict[str, Any], key: str) -> str:
    return _shown(text_in(fields, key))


def _texts(fields: dict[str, Any], key: str) -> list[str]:
    return [_shown(text) for text in texts_in(fields, key)]
