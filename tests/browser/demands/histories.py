"""Negotiations to play: lists of batches, each appended in one request, so that the server's coordinator finds nothing to do.

The agents are nobody's samples and every waiting is long, so a history stays where its last batch left it."""

from typing import Any

LONG_SECONDS = 86_400.0  # the longest that counts
USER = "maria"
TEXT = "A venue for 40 people next Friday, with catering, a speaker and photos"
CAPABILITIES = ("venue", "catering", "speaker", "photography")

Batch = list[dict[str, Any]]


def id_of(name: str) -> str:
    """The id of an agent with this name."""
    return name.lower() if name.isascii() else f"agent-{name.encode().hex()}"


def event(demand_id: str, event_type: str, **payload: Any) -> dict[str, Any]:
    """An event on a demand's stream."""
    ids = {"demand_id": demand_id, "channel_id": f"collab-{demand_id.removeprefix('d-')}"}
    return {
        "stream": f"demand:{demand_id}",
        "event_type": f"towow.{event_type}",
        "source": "towow",
        "payload": {**ids, **payload},
    }


def understood(demand_id: str, surface_demand: str, *capabilities: str, **payload: Any) -> dict[str, Any]:
    """How a demand begins."""
    return event(
        demand_id,
        "demand.understood",
        surface_demand=surface_demand,
        **{
            "raw_input": f"Hello! {surface_demand}, please.",
            "confidence": "high",
            "capabilities": [{"capability": name, "term": name} for name in capabilities],
            "language": "en",
            "user_id": USER,
            "requirements": {},
            "confirm": False,
            "written_by": "rules",
            **payload,
        },
    )


def found(demand_id: str, *agents: tuple[str, str]) -> dict[str, Any]:
    """Candidates, as pairs of a name and what for; the id is the name in lower case, where that can be one."""
    candidates = [
        {"agent_id": id_of(name), "name": name, "reason": f"{reason}: {reason}", "score": 5 - place, "capabilities": [reason]}
        for place, (name, reason) in enumerate(agents)
    ]
    return event(demand_id, "filter.completed", candidates=candidates)


def invited(demand_id: str, *names: str) -> dict[str, Any]:
    """The invitation."""
    return event(demand_id, "demand.broadcast", agent_ids=[id_of(name) for name in names], offers_within_seconds=LONG_SECONDS)


def offer(demand_id: str, name: str, price: float, content: str, **fields: Any) -> dict[str, Any]:
    """An offer in euros."""
    written_by = {"written_by": fields.pop("written_by")} if "written_by" in fields else {}
    said = {"content": content, "capabilities": ["it"], "terms": {"price": price, "currency": "EUR"}, "needs": [], **fields}
    return event(demand_id, "offer.submitted", agent_id=id_of(name), name=name, offer=said, **written_by)


def part(name: str, what: str, price: float, *, asked: float | None = None, **fields: Any) -> dict[str, Any]:
    """An assignment in a proposal."""
    return {
        "agent_id": id_of(name),
        "name": name,
        "capabilities": [what],
        "offer_seq": 1,
        "terms": {"price": price, "currency": "EUR"},
        "offered_price": asked if asked is not None else price,
        "conditions": [],
        "subnet_id": None,
        **fields,
    }


def proposal(demand_id: str, number: int, parts: list[dict[str, Any]], **payload: Any) -> dict[str, Any]:
    """A proposal with its total."""
    plan = {
        "assignments": parts,
        "missing": [],
        "total_price": sum(each["terms"]["price"] for each in parts),
        "currency": "EUR",
        "requirements": {},
        "wishes": [],
        "considered": [],
        "summary": f"The plan of round {number}.",
        "feedback_within_seconds": LONG_SECONDS,
        "written_by": "rules",
        **payload,
    }
    return event(demand_id, "proposal.distributed", proposal_id=f"{demand_id}-p{number}", round=number, **plan)


def feedback(demand_id: str, number: int, name: str, decision: str, comment: str = "") -> dict[str, Any]:
    """An answer of an agent, or of the user for the user's name."""
    who = {"user_id": USER} if name == USER else {"agent_id": id_of(name)}
    said = {"decision": decision, "comment": comment, "terms": {}}
    return event(demand_id, "proposal.feedback", **who, name=name, proposal_id=f"{demand_id}-p{number}", round=number, **said)


def finalized(demand_id: str, number: int, parts: list[dict[str, Any]], summary: str, **payload: Any) -> dict[str, Any]:
    """The agreement."""
    total = sum(each["terms"]["price"] for each in parts)
    plan = {"assignments": parts, "missing": [], "total_price": total, "currency": "EUR", "summary": summary, **payload}
    return event(
        demand_id,
        "proposal.finalized",
        proposal_id=f"{demand_id}-p{number}",
        round=number,
        proposal=plan,
        accepted_by=[each["agent_id"] for each in parts],
        is_complete=not plan["missing"],
        written_by="rules",
    )


def triggered(demand_id: str, subnet_id: str, capability: str) -> dict[str, Any]:
    """The beginning of a sub-negotiation, on its parent's stream."""
    depth = subnet_id.count(".")
    return event(
        demand_id,
        "subnet.triggered",
        subnet_id=subnet_id,
        parent_demand_id=demand_id,
        capability=capability,
        depth=depth,
        surface_demand=f"Somebody for {capability}",
        within_seconds=LONG_SECONDS,
    )


def completed(demand_id: str, subnet_id: str, capability: str, outcome: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The end of a sub-negotiation, on its parent's stream."""
    fields = {"capability": capability, "outcome": outcome, "reason": "", "assignments": parts}
    return event(demand_id, "subnet.completed", subnet_id=subnet_id, parent_demand_id=demand_id, **fields)


def child(demand_id: str, parent: str, capability: str) -> dict[str, Any]:
    """How a sub-negotiation begins on its own stream."""
    return understood(
        demand_id, f"Somebody for {capability}", capability, parent_demand_id=parent, depth=1, for_capability=capability
    )


def workshop(demand_id: str, *, confirm: bool = True) -> list[Batch]:
    """A negotiation with everything: a decline, a silence, two gaps, a nested sub-negotiation, two rounds, the user's wishes.

    Its batches: asked and invited; two offers; a third and a decline; gaps and sub-negotiations; one in the other; their ends
    and the first proposal; answers; the second proposal and two answers; the agreement."""
    photos, ride = f"{demand_id}.1", f"{demand_id}.1.1"
    budget = {"people": 40, "budget": 4000, "currency": "EUR", "date": "2026-11-27"}
    driver = part("Driver", "transport", 40)
    from_photos = [{**part("Photographer", "photography", 450), "subnet_id": photos}, {**driver, "subnet_id": photos}]
    first = [
        part("Hall", "venue", 1385, asked=1500),
        part("Cook", "catering", 1293, asked=1400),
        part("Speaker", "speaker", 832, asked=900),
    ]
    second = [
        part("Hall", "venue", 1450, conditions=["1,450 is my lowest; I add two microphones."]),
        part("Cook", "catering", 1250, asked=1400),
        part("Speaker", "speaker", 800, asked=900),
    ]
    wish = "Please make sure that there is coffee from 9 o'clock on."
    said = [{"by": "hall", "is_user": False, "decision": "revise", "comment": "1,450 is my lowest; I add two microphones."}]
    return [
        [
            understood(demand_id, TEXT, *CAPABILITIES, requirements=budget, confirm=confirm),
            found(
                demand_id,
                ("Hall", "venue"),
                ("Cook", "catering"),
                ("Speaker", "speaker"),
                ("Baker", "catering"),
                ("Barn", "venue"),
            ),
            invited(demand_id, "Hall", "Cook", "Speaker", "Baker", "Barn"),
        ],
        [
            offer(demand_id, "Hall", 1500, "A bright loft for 50 people.", written_by="rules"),
            offer(demand_id, "Cook", 1400, "A lunch buffet for 40.", written_by="llm"),
        ],
        [
            offer(demand_id, "Speaker", 900, "A talk on recovery.", needs=["sound_and_light"]),
            event(demand_id, "offer.declined", agent_id="baker", name="Baker", reason="We only bake cakes."),
        ],
        [
            event(
                demand_id, "gap.identified", capability="photography", gap="Nobody takes photos.", reason="no_offer", round=1
            ),
            event(
                demand_id,
                "gap.identified",
                capability="sound_and_light",
                gap="The speaker needs a microphone.",
                reason="needed_by",
                needed_by="speaker",
                round=1,
            ),
            triggered(demand_id, photos, "photography"),
            child(photos, demand_id, "photography"),
            found(photos, ("Photographer", "photography"), ("Other", "photography")),
            invited(photos, "Photographer", "Other"),
        ],
        [
            offer(photos, "Photographer", 450, "Half a day of pictures.", needs=["transport"]),
            event(
                photos, "gap.identified", capability="transport", gap="A ride.", reason="needed_by", needed_by="photographer"
            ),
            triggered(photos, ride, "transport"),
            child(ride, photos, "transport"),
            found(ride, ("Driver", "transport"), ("Bus", "transport")),
            invited(ride, "Driver", "Bus"),
        ],
        [
            offer(ride, "Driver", 40, "There and back."),
            proposal(ride, 1, [driver]),
            feedback(ride, 1, "Driver", "accept"),
            finalized(ride, 1, [driver], "Driver brings the photographer."),
            completed(photos, ride, "transport", "finalized", [driver]),
            proposal(photos, 1, from_photos[:1]),
            feedback(photos, 1, "Photographer", "accept"),
            finalized(photos, 1, from_photos, "Pictures and the way there."),
            completed(demand_id, photos, "photography", "finalized", from_photos),
            proposal(demand_id, 1, [*first, *from_photos], missing=["sound_and_light"], requirements=budget, written_by="llm"),
        ],
        [
            feedback(demand_id, 1, "Cook", "accept"),
            feedback(demand_id, 1, "Hall", "revise", "1,450 is my lowest; I add two microphones."),
            feedback(demand_id, 1, USER, "revise", wish),
        ],
        [
            feedback(demand_id, 1, "Speaker", "accept", "With microphones that works."),
            proposal(
                demand_id,
                2,
                [*second, *from_photos],
                missing=["sound_and_light"],
                requirements=budget,
                wishes=[wish],
                considered=said,
            ),
            feedback(demand_id, 2, "Hall", "accept"),
        ],
        [
            feedback(demand_id, 2, "Cook", "accept", "Coffee from nine is included."),
            feedback(demand_id, 2, "Speaker", "accept"),
            feedback(demand_id, 2, USER, "accept"),
            finalized(
                demand_id, 2, [*second, *from_photos], "Hall, food, talk and pictures for €3,990.", missing=["sound_and_light"]
            ),
        ],
    ]


def meetup(demand_id: str) -> list[Batch]:
    """A short one in Chinese: three offers, one proposal, an agreement."""
    parts = [
        {**part("小厅", "venue", 9000), "terms": {"price": 9000, "currency": "CNY", "people": 80}},
        {**part("老师", "speaker", 6000), "terms": {"price": 6000, "currency": "CNY"}},
    ]
    demand = "下周六在北京办一场 50 人的技术分享会，需要场地和嘉宾"
    capabilities = [{"capability": "venue", "term": "场地"}, {"capability": "speaker", "term": "嘉宾"}]
    needs = {"people": 50, "budget": 20000, "currency": "CNY", "date": "2026-11-28"}
    plan = {"currency": "CNY", "summary": "小厅提供场地，老师主讲。"}
    return [
        [
            understood(
                demand_id,
                demand,
                raw_input=demand,
                capabilities=capabilities,
                language="zh",
                requirements=needs,
                written_by="llm",
            ),
            found(demand_id, ("小厅", "venue"), ("老师", "speaker"), ("社区", "venue")),
            invited(demand_id, "小厅", "老师", "社区"),
            offer(
                demand_id, "小厅", 9000, "可容纳 80 人，含桌椅。", terms={"price": 9000, "currency": "CNY"}, written_by="rules"
            ),
            offer(demand_id, "老师", 6000, "六十分钟的分享。", terms={"price": 6000, "currency": "CNY"}, written_by="llm"),
            proposal(demand_id, 1, parts, **plan, requirements=needs),
            feedback(demand_id, 1, "小厅", "accept"),
            feedback(demand_id, 1, "老师", "accept", "期待交流。"),
            finalized(demand_id, 1, parts, **plan),
        ]
    ]


def hostile(demand_id: str, text: str) -> list[Batch]:
    """A history in which every text but ids is the given one and every number is absurd."""
    names = [f"agent-{n}" for n in range(3)]
    terms = {"price": 1e12, "currency": text, text: text, "date": text, "nested": {"a": [text]}}
    parts = [
        {
            "agent_id": name,
            "name": text,
            "capabilities": [text],
            "terms": terms,
            "offered_price": 2e12,
            "conditions": [text],
            "subnet_id": text if place else None,
        }
        for place, name in enumerate(names[:2])
    ]
    said = {"by": text, "is_user": False, "decision": text, "comment": text}
    late = {"offers_within_seconds": LONG_SECONDS, "within_seconds": LONG_SECONDS, "feedback_within_seconds": LONG_SECONDS}
    candidates = [{"agent_id": name, "name": text, "reason": text, "score": -1e9 * place} for place, name in enumerate(names)]
    offered = {"content": text, "capabilities": [text, f"{text}b"], "terms": terms, "needs": [text, f"{text}c"]}
    return [
        [
            understood(
                demand_id,
                text,
                text,
                "venue",
                raw_input=f"{text}\n{text}",
                confidence=text,
                language=text,
                user_id=text[:150],
                requirements={"people": 3, "budget": 1e15, "currency": text, "date": text},
                confirm=True,
                written_by=text,
            ),
            event(demand_id, "filter.completed", candidates=candidates),
            event(demand_id, "demand.broadcast", agent_ids=names, **late),
            event(demand_id, "offer.submitted", agent_id=names[0], name=text, written_by=text, offer=offered),
            event(demand_id, "offer.submitted", agent_id=names[1], name=text, offer=offered),
            event(demand_id, "offer.declined", agent_id=names[2], name=text, reason=text),
            event(demand_id, "gap.identified", capability=text, gap=text, reason=text, needed_by=text, round=1),
            event(demand_id, "subnet.triggered", subnet_id=f"{demand_id}.7", capability=text, surface_demand=text, **late),
            event(demand_id, "subnet.triggered", subnet_id=f"{demand_id}.{text}", capability=text, surface_demand=text, **late),
            event(
                demand_id,
                "proposal.distributed",
                proposal_id=text,
                round=1,
                assignments=parts,
                missing=[text],
                total_price=2e12,
                currency=text,
                requirements={"budget": 1e3, "currency": text},
                wishes=[text],
                considered=[said],
                summary=text,
                written_by=text,
                **late,
            ),
            event(
                demand_id,
                "proposal.feedback",
                agent_id=names[0],
                proposal_id=text,
                decision="revise",
                comment=text,
                terms=terms,
            ),
            event(demand_id, "note", **{text: text}),
        ]
    ]
