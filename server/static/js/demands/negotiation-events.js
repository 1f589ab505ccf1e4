/**
 * What each event of a negotiation changes in it; payloads come from anybody, so every field is read by its type.
 *
 * `negotiation.js` calls these for events that have a place in their phase, and owns what follows from all of them.
 *
 * @import { StoredEvent } from "../lib/types.js"
 * @import { Assignment, Negotiation, Requirements, Round } from "./negotiation-types.js"
 *
 * @typedef {Record<string, any>} Payload
 */

import { agentId, capabilities, count, deadline, extension, isDemandId, number, object, objects, shortTexts, terms, text, texts, writer } from "../lib/fields.js";

const MAX_ROUND = 1000;
const DECISIONS = new Set(["accept", "revise", "reject"]);

/** By event type; each changes the negotiation that it is given. @type {Record<string, (negotiation: Negotiation, payload: Payload, event: StoredEvent) => void>} */
export const CHANGES = {
  "towow.demand.understood": understood,
  "towow.filter.completed": filtered,
  "towow.demand.broadcast": invited,
  "towow.offer.submitted": offered,
  "towow.offer.declined": declined,
  "towow.gap.identified": gapIdentified,
  "towow.subnet.triggered": subnetTriggered,
  "towow.subnet.completed": subnetCompleted,
  "towow.proposal.distributed": proposed,
  "towow.proposal.feedback": answered,
  "deadline.extended": extended,
  "towow.proposal.finalized": ended,
  "towow.negotiation.failed": ended,
  "towow.negotiation.cancelled": ended,
};

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function understood(negotiation, payload, { seq, timestamp }) {
  negotiation.wanted = {
    surface: text(payload.surface_demand) || text(payload.raw_input),
    raw: text(payload.raw_input),
    confidence: text(payload.confidence),
    capabilities: capabilities(payload.capabilities),
    language: text(payload.language),
    user: text(payload.user_id) || "anonymous",
    requirements: requirementsOf(payload.requirements),
    confirm: payload.confirm === true,
    writtenBy: writer(payload.written_by),
    parent: text(payload.parent_demand_id),
    forCapability: text(payload.for_capability),
    seq,
    at: timestamp,
  };
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function filtered(negotiation, payload, { seq, timestamp }) {
  const found = new Map();
  for (const item of objects(payload.candidates)) {
    const id = agentId(item.agent_id);
    if (!id || found.has(id)) continue;
    const name = text(item.name) || id;
    negotiation.names.set(id, name);
    found.set(id, { id, name, reason: text(item.reason), score: number(item.score), fate: "found" });
  }
  negotiation.candidates = [...found.values()];
  negotiation.candidatesSeq = seq;
  negotiation.candidatesAt = timestamp;
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function invited(negotiation, payload, { seq, timestamp }) {
  const end = deadline(timestamp, payload.offers_within_seconds);
  negotiation.invitation = { ids: texts(payload.agent_ids).filter(agentId), deadline: end, seq, at: timestamp };
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function offered(negotiation, payload, { seq, timestamp }) {
  const id = text(payload.agent_id);
  if (!isFirstAnswer(negotiation, id)) return;
  const offer = object(payload.offer);
  negotiation.offers.push({
    id,
    name: nameOf(negotiation, id, text(payload.name)),
    content: text(offer.content),
    capabilities: shortTexts(offer.capabilities),
    terms: terms(offer.terms),
    needs: shortTexts(offer.needs),
    writtenBy: writer(payload.written_by),
    seq,
    at: timestamp,
  });
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function declined(negotiation, payload, { seq, timestamp }) {
  const id = text(payload.agent_id);
  if (!isFirstAnswer(negotiation, id)) return;
  negotiation.declines.push({ id, name: nameOf(negotiation, id, text(payload.name)), reason: text(payload.reason), seq, at: timestamp });
}

/** @param {Negotiation} negotiation @param {Payload} payload */
function extended(negotiation, payload) {
  const { phase, invitation, rounds, subnets } = negotiation;
  const running = phase === "filling_gaps" ? subnets.filter(({ outcome }) => !outcome) : phase === "proposing" ? rounds.slice(-1) : [invitation];
  for (const waiting of running) {
    if (waiting && waiting.deadline !== null) waiting.deadline += extension(payload.seconds);
  }
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function gapIdentified(negotiation, payload, { seq, timestamp }) {
  const capability = text(payload.capability);
  if (!capability) return;
  negotiation.gaps.push({
    capability,
    sentence: text(payload.gap),
    reason: text(payload.reason),
    neededBy: text(payload.needed_by),
    round: count(payload.round),
    seq,
    at: timestamp,
  });
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function subnetTriggered(negotiation, payload, { seq, timestamp }) {
  const id = text(payload.subnet_id);
  // An id below its parent's: nesting has an end, for any events.
  if (!id.startsWith(`${negotiation.id}.`) || !isDemandId(id) || negotiation.subnets.some((subnet) => subnet.id === id)) return;
  negotiation.subnets.push({
    id,
    capability: text(payload.capability),
    surface: text(payload.surface_demand),
    deadline: deadline(timestamp, payload.within_seconds),
    outcome: "",
    reason: "",
    seq,
    changedSeq: seq,
    at: timestamp,
  });
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function subnetCompleted(negotiation, payload, { seq }) {
  const subnet = negotiation.subnets.find(({ id, outcome }) => id === payload.subnet_id && !outcome);
  if (!subnet) return;
  subnet.outcome = text(payload.outcome) || "failed";
  subnet.reason = text(payload.reason);
  subnet.changedSeq = seq;
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function proposed(negotiation, payload, { seq, timestamp }) {
  const named = count(payload.round) <= MAX_ROUND ? count(payload.round) : 0;
  const assignments = assignmentsOf(negotiation, payload.assignments);
  if (named) negotiation.round = named;
  negotiation.rounds.push({
    number: named || negotiation.rounds.length + 1,
    proposalId: text(payload.proposal_id),
    ...planOf(payload, assignments),
    requirements: requirementsOf(payload.requirements),
    wishes: texts(payload.wishes),
    considered: objects(payload.considered).map((item) => ({
      by: text(item.by),
      isUser: item.is_user === true,
      decision: text(item.decision),
      comment: text(item.comment),
    })),
    writtenBy: writer(payload.written_by),
    deadline: deadline(timestamp, payload.feedback_within_seconds),
    answers: [],
    asked: [...new Set(assignments.filter(({ subnetId }) => !subnetId).map(({ id }) => id))],
    awaited: [],
    awaitsUser: false,
    isOpen: false,
    seq,
    at: timestamp,
  });
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function answered(negotiation, payload, { seq, timestamp }) {
  const round = negotiation.rounds.at(-1);
  if (!round || payload.proposal_id !== round.proposalId || !DECISIONS.has(payload.decision)) return;
  const isUser = !text(payload.agent_id);
  const by = text(isUser ? payload.user_id : payload.agent_id);
  const isParticipant = isUser ? by === negotiation.wanted?.user : round.asked.includes(by);
  if (!isParticipant || round.answers.some((answer) => answer.isUser === isUser && answer.by === by)) return;
  round.answers.push({
    by,
    isUser,
    name: isUser ? by : nameOf(negotiation, by, text(payload.name)),
    decision: payload.decision,
    comment: text(payload.comment),
    terms: terms(payload.terms),
    writtenBy: writer(payload.written_by),
    seq,
    at: timestamp,
  });
}

/** @param {Negotiation} negotiation @param {Payload} payload @param {StoredEvent} event */
function ended(negotiation, payload, { seq, timestamp }) {
  const last = negotiation.rounds.at(-1) ?? null;
  const proposal = object(payload.proposal);
  const kind = /** @type {"finalized" | "failed" | "cancelled"} */ (negotiation.phase);
  const assignments = assignmentsOf(negotiation, proposal.assignments);
  const isGiven = assignments.length > 0 || !last;
  const plan = { ...(last ?? EMPTY_ROUND), ...(isGiven ? planOf(proposal, assignments) : {}) };
  negotiation.outcome = {
    kind,
    reason: text(payload.reason),
    message: text(payload.message),
    by: text(payload.by),
    round: count(payload.round) || last?.number || 0,
    plan: kind === "finalized" ? { ...plan, writtenBy: writer(payload.written_by) } : null,
    isComplete: payload.is_complete !== false && plan.missing.length === 0,
    seq,
    at: timestamp,
  };
}

/** @type {Round} */
const EMPTY_ROUND = {
  number: 0,
  proposalId: "",
  assignments: [],
  missing: [],
  total: null,
  currency: "",
  requirements: { people: null, budget: null, currency: "", date: "" },
  wishes: [],
  considered: [],
  summary: "",
  writtenBy: "",
  deadline: null,
  answers: [],
  asked: [],
  awaited: [],
  awaitsUser: false,
  isOpen: false,
  seq: 0,
  at: "",
};

/**
 * @param {Negotiation} negotiation
 * @param {string} id
 */
function isFirstAnswer({ invitation, offers, declines }, id) {
  return Boolean(invitation?.ids.includes(id)) && ![...offers, ...declines].some((answer) => answer.id === id);
}

/**
 * @param {Negotiation} negotiation
 * @param {string} id
 * @param {string} given for an agent that is no candidate
 * @returns {string}
 */
function nameOf({ names }, id, given) {
  const known = names.get(id) ?? (given || id);
  names.set(id, known);
  return known;
}

/**
 * @param {Negotiation} negotiation
 * @param {any} value
 * @returns {Assignment[]}
 */
function assignmentsOf(negotiation, value) {
  return objects(value)
    .filter((item) => agentId(item.agent_id))
    .map((item) => ({
      id: item.agent_id,
      name: nameOf(negotiation, item.agent_id, text(item.name)),
      capabilities: texts(item.capabilities),
      terms: terms(item.terms),
      price: number(terms(item.terms).price),
      offeredPrice: number(item.offered_price),
      conditions: texts(item.conditions),
      subnetId: text(item.subnet_id),
    }));
}

/**
 * @param {Payload} payload
 * @param {Assignment[]} assignments
 */
function planOf(payload, assignments) {
  const { missing, total_price, currency, summary } = payload;
  return { assignments, missing: texts(missing), total: number(total_price), currency: text(currency), summary: text(summary) };
}

/**
 * @param {any} value
 * @returns {Requirements}
 */
function requirementsOf(value) {
  const { people, budget, currency, date } = object(value);
  return { people: count(people) || null, budget: number(budget), currency: text(currency), date: text(date) };
}
