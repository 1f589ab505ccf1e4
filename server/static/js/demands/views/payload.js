/**
 * The essentials of an event's payload, for people; whatever has no form of its own is a list of names and values.
 *
 * Payloads come from anybody: every field is checked before it is used, and becomes text.
 *
 * @import { StoredEvent } from "../../lib/types.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Child } from "../../lib/html.js"
 */

import { object, text } from "../../lib/fields.js";
import { element } from "../../lib/html.js";
import { reasonText, sentenceOf } from "../sentence.js";
import { textOf } from "../../ui/views/pieces.js";
import { avatar, inWords, longText, scoreOf } from "./pieces.js";

const SHOWN_FIELDS = 8;
const SHOWN_CANDIDATES = 12;
const LEFT_OUT = new Set(["demand_id", "channel_id"]); // the same for every row of a timeline

/** @type {Record<string, (payload: Record<string, any>, t: Translator) => Child[]>} */
const FORMS = {
  "towow.demand.understood": understood,
  "towow.filter.completed": filtered,
  "towow.negotiation.failed": failed,
};

/** Events whose sentence is enough, and the free text of their payload. @type {Record<string, (payload: Record<string, any>) => string>} */
const SAID = {
  "towow.demand.broadcast": () => "",
  "towow.offer.submitted": (payload) => text(object(payload.offer).content),
  "towow.offer.declined": (payload) => text(payload.reason),
  "towow.gap.identified": (payload) => text(payload.gap),
  "towow.subnet.triggered": (payload) => text(payload.surface_demand),
  "towow.subnet.completed": () => "",
  "towow.proposal.distributed": (payload) => text(payload.summary),
  "towow.proposal.feedback": (payload) => text(payload.comment),
  "towow.proposal.finalized": (payload) => text(object(payload.proposal).summary),
  "towow.negotiation.cancelled": (payload) => text(payload.reason),
};

/**
 * @param {StoredEvent} event
 * @param {Translator} t
 * @returns {Child[]}
 */
export function renderPayload(event, t) {
  const { event_type } = event;
  const payload = object(event.payload);
  if (Object.hasOwn(FORMS, event_type)) return FORMS[event_type](payload, t);
  if (Object.hasOwn(SAID, event_type)) return [element("p", { class: "lead", dir: "auto" }, sentenceOf(event, t)), ...longText(SAID[event_type](payload), t)];
  return fields(payload, t);
}

/**
 * @param {Record<string, any>} payload
 * @param {Translator} t
 * @returns {Child[]}
 */
function understood(payload, t) {
  const surface = textOf(payload.surface_demand);
  const raw = textOf(payload.raw_input);
  const level = ["high", "medium", "low"].find((name) => name === payload.confidence);
  const chips = listOf(payload.capabilities).map((item) => {
    const capability = textOf(item?.capability ?? item);
    const term = textOf(item?.term);
    const isSame = term.toLowerCase() === capability.toLowerCase();
    return element("li", { class: "chip" }, element("b", {}, inWords(capability)), term && !isSame && element("span", { dir: "auto" }, term));
  });
  return [
    surface && element("blockquote", { dir: "auto" }, surface),
    element(
      "div",
      { class: "wants" },
      chips.length
        ? element("ul", { class: "chips", "aria-label": t.text("payload.capabilities") }, chips)
        : element("p", { class: "muted" }, t.text("payload.capabilities.none")),
      level && element("span", { class: "level", dataset: { level } }, t.text(`payload.confidence.${level}`)),
    ),
    raw &&
      raw !== surface &&
      element("p", { class: "raw" }, element("span", { class: "term" }, t.text("payload.raw")), element("span", { dir: "auto" }, raw)),
  ];
}

/**
 * @param {Record<string, any>} payload
 * @param {Translator} t
 * @returns {Child[]}
 */
function filtered(payload, t) {
  const candidates = listOf(payload.candidates);
  if (!candidates.length) return [element("p", { class: "muted" }, t.text("payload.candidates.none"))];
  const best = Math.max(...candidates.map((candidate) => Math.abs(Number.isFinite(candidate?.score) ? candidate.score : 0)));
  const rows = candidates.slice(0, SHOWN_CANDIDATES).map((candidate) => {
    const { agent_id, name, reason, score } = candidate ?? {};
    return element(
      "li",
      { class: "candidate" },
      avatar(textOf(name) || textOf(agent_id)),
      element(
        "span",
        { class: "who" },
        element("b", { dir: "auto" }, textOf(name) || textOf(agent_id)),
        name && element("code", {}, textOf(agent_id)),
      ),
      element("span", { class: "why", dir: "auto" }, inWords(textOf(reason))),
      Number.isFinite(score) && scoreOf(score, best, t),
    );
  });
  const rest = candidates.length - rows.length;
  return [
    element("p", { class: "lead" }, t.count("payload.candidates", candidates.length)),
    element("ul", { class: "candidates" }, rows),
    rest > 0 && element("p", { class: "muted" }, t.text("payload.more", { count: rest })),
  ];
}

/**
 * @param {Record<string, any>} payload
 * @param {Translator} t
 * @returns {Child[]}
 */
function failed(payload, t) {
  const reason = textOf(payload.reason);
  const message = textOf(payload.message);
  return [
    element("p", { class: "lead", dir: "auto" }, reasonText(reason, t) || message || reason),
    reason && element("p", { class: "muted" }, `${t.text("payload.reason")}: `, element("code", {}, reason)),
  ];
}

/**
 * @param {Record<string, any>} payload
 * @param {Translator} t
 * @returns {Child[]}
 */
function fields(payload, t) {
  const entries = Object.entries(payload ?? {}).filter(([name]) => !LEFT_OUT.has(name));
  if (!entries.length) return [];
  const rest = entries.length - SHOWN_FIELDS;
  return [
    element(
      "dl",
      { class: "fields" },
      entries.slice(0, SHOWN_FIELDS).map(([name, value]) =>
        element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, textOf(value))),
      ),
    ),
    rest > 0 && element("p", { class: "muted" }, t.text("payload.more", { count: rest })),
  ];
}

/**
 * @param {any} value
 * @returns {any[]}
 */
function listOf(value) {
  return Array.isArray(value) ? value : [];
}
