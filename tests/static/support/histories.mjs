/** Histories of negotiations for the tests: a stream that numbers its events, and one that goes through everything. */

/** The events of one demand; `add` appends one and returns the stream, so that calls chain. */
export class Stream {
  events = [];

  constructor(id = "d-1", firstSeq = 1) {
    this.id = id;
    this.seq = firstSeq - 1;
  }

  add(type, payload = {}, { after = 1 } = {}) {
    this.seq += after;
    const timestamp = new Date(1_767_225_600_000 + this.seq * 1000).toISOString();
    const event_type = type.startsWith("!") ? type.slice(1) : `towow.${type}`;
    this.events.push({ seq: this.seq, stream: `demand:${this.id}`, revision: this.events.length + 1, event_id: `id-${this.seq}`, event_type, timestamp, source: "test", payload });
    return this;
  }
}

export const understood = { surface_demand: "a venue", raw_input: "I need a venue", user_id: "maria", capabilities: [{ capability: "venue", term: "hall" }], language: "en" };
export const candidates = ["bob", "ann", "cy"].map((agent_id, i) => ({ agent_id, name: agent_id.toUpperCase(), reason: "venue: hall", score: 3 - i, capabilities: ["venue"] }));

/** Bob and Ann have offered, Cy has declined. */
export function offered(id = "d-1", payload = {}) {
  return new Stream(id)
    .add("demand.understood", { ...understood, ...payload })
    .add("filter.completed", { candidates })
    .add("demand.broadcast", { agent_ids: ["bob", "ann", "cy"], offers_within_seconds: 30 })
    .add("offer.submitted", { agent_id: "bob", offer: { content: "A hall.", capabilities: ["venue"], terms: { price: 100, currency: "EUR" }, needs: [] }, written_by: "rules" })
    .add("offer.submitted", { agent_id: "ann", offer: { content: "A room.", capabilities: ["venue"], terms: { price: 90 }, needs: ["chairs"] } })
    .add("offer.declined", { agent_id: "cy", reason: "busy" });
}

export function assignment(agent_id, extra = {}) {
  return { agent_id, name: agent_id.toUpperCase(), capabilities: ["venue"], offer_seq: 4, terms: { price: 90, currency: "EUR" }, offered_price: 100, conditions: [], subnet_id: null, ...extra };
}

export function proposal(round, agents, extra = {}) {
  return {
    proposal_id: `d-1-p${round}`,
    round,
    assignments: agents.map((agent) => (typeof agent === "string" ? assignment(agent) : agent)),
    missing: [],
    total_price: 90,
    currency: "EUR",
    summary: "a plan",
    feedback_within_seconds: 30,
    ...extra,
  };
}

/** Bob and Ann are asked about round 1. */
export function proposed(payload = {}) {
  return offered("d-1", payload).add("proposal.distributed", proposal(1, ["bob", "ann"]));
}
