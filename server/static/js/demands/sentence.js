/**
 * What happened, in one line, for the replay and the raw story; total on any payload.
 *
 * @import { StoredEvent } from "../lib/types.js"
 * @import { Translator } from "../ui/i18n.js"
 *
 * @typedef {Record<string, any>} Payload
 * @typedef {(id: string) => string} NameOf the name that an agent is known by
 */

import { count, number, object, objects, text, texts } from "../lib/fields.js";

const LONGEST = 160; // characters of any text from a payload

/** @type {Record<string, (payload: Payload, t: Translator, nameOf: NameOf) => string>} */
const SENTENCES = {
  "towow.filter.completed": (payload, t) => t.count("payload.candidates", objects(payload.candidates).length),
  "towow.demand.broadcast": (payload, t) => t.count("sentence.invited", texts(payload.agent_ids).length),
  "towow.offer.submitted": offered,
  "towow.offer.declined": (payload, t, nameOf) => t.text("sentence.declined", { who: agent(payload, nameOf) }),
  "towow.gap.identified": (payload, t) => t.text("sentence.gap", { capability: words(payload.capability) }),
  "towow.subnet.triggered": (payload, t) => t.text("sentence.subnet.started", { capability: words(payload.capability) }),
  "towow.subnet.completed": (payload, t) =>
    t.text("sentence.subnet.ended", { capability: words(payload.capability), outcome: outcomeText(text(payload.outcome), t) }),
  "towow.proposal.distributed": proposed,
  "towow.proposal.feedback": answered,
  "towow.proposal.finalized": (payload, t) => total(object(payload.proposal), t, "sentence.finalized"),
  "towow.negotiation.failed": (payload, t) => t.text("sentence.failed", { reason: reasonText(text(payload.reason), t) || short(payload.message) }),
};

/**
 * @param {StoredEvent} event
 * @param {Translator} t
 * @param {NameOf} [nameOf]
 * @returns {string} never empty
 */
export function sentenceOf({ event_type, payload }, t, nameOf = (id) => id) {
  const sentence = Object.hasOwn(SENTENCES, event_type) ? SENTENCES[event_type](object(payload), t, nameOf) : "";
  return sentence || eventName(event_type, t);
}

/**
 * The name of an event type for people; the type itself when there is none.
 *
 * @param {string} eventType
 * @param {Translator} t
 * @returns {string}
 */
export function eventName(eventType, t) {
  return t.has(`event.${eventType}`) ? t.text(`event.${eventType}`) : eventType;
}

/**
 * Why a negotiation ended without an agreement, in words; empty for a reason that the page does not know.
 *
 * @param {string} reason
 * @param {Translator} t
 * @returns {string}
 */
export function reasonText(reason, t) {
  return t.has(`reason.${reason}`) ? t.text(`reason.${reason}`) : "";
}

/**
 * How a sub-negotiation ended, in a word or two.
 *
 * @param {string} outcome
 * @param {Translator} t
 * @returns {string}
 */
export function outcomeText(outcome, t) {
  if (outcome === "timed_out") return t.text("subnet.timed_out");
  return t.has(`status.${outcome}`) ? t.text(`status.${outcome}`) : outcome;
}

/** @param {Payload} payload @param {Translator} t @param {NameOf} nameOf */
function offered(payload, t, nameOf) {
  const terms = object(object(payload.offer).terms);
  const price = number(terms.price);
  const who = agent(payload, nameOf);
  if (price === null) return t.text("sentence.offered", { who });
  return t.text("sentence.offered.price", { who, price: t.money(price, text(terms.currency)) });
}

/** @param {Payload} payload @param {Translator} t */
function proposed(payload, t) {
  return total(payload, t, "sentence.proposed");
}

/** @param {Payload} payload @param {Translator} t @param {NameOf} nameOf */
function answered(payload, t, nameOf) {
  const decision = text(payload.decision);
  const key = `sentence.answer.${decision}`;
  const who = text(payload.agent_id) ? agent(payload, nameOf) : t.text("sentence.user");
  return t.has(key) ? t.text(key, { who }) : "";
}

/**
 * @param {Payload} plan
 * @param {Translator} t
 * @param {string} key
 */
function total(plan, t, key) {
  const price = number(plan.total_price);
  const round = count(plan.round);
  const values = { round, agents: t.count("sentence.agents", objects(plan.assignments).length) };
  if (price === null) return t.text(key, values);
  return t.text(`${key}.price`, { ...values, price: t.money(price, text(plan.currency)) });
}

/** @param {Payload} payload @param {NameOf} nameOf */
function agent(payload, nameOf) {
  const id = text(payload.agent_id);
  const known = nameOf(id);
  return short(known === id ? text(payload.name) || id : known) || "?";
}

/** @param {any} value */
function words(value) {
  return short(text(value).replace(/(?<=[a-z])_(?=[a-z])/g, " ")) || "?";
}

/** @param {any} value */
function short(value) {
  return text(value).length > LONGEST ? `${text(value).slice(0, LONGEST)}…` : text(value);
}
