/**
 * How a negotiation ended: the plan that was agreed, or why there is none.
 *
 * @import { Negotiation, Outcome } from "../negotiation-types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, icon } from "../../lib/html.js";
import { reasonText } from "../sentence.js";
import { clock, textOf } from "../../ui/views/pieces.js";
import { capabilityText, chips, longText, marker } from "./pieces.js";
import { planTable, totalLine } from "./plan.js";

/**
 * @param {Negotiation} negotiation
 * @param {Outcome} outcome
 * @param {Translator} t
 * @param {number} level of its heading
 * @param {boolean} isNested without the line of a main result
 * @returns {HTMLElement}
 */
export function outcomeCard({ wanted }, outcome, t, level, isNested = false) {
  const { kind, seq, at, plan } = outcome;
  const tag = /** @type {"h3"} */ (`h${Math.min(6, level)}`);
  const title = kind === "finalized" ? t.text(plan?.number ? "outcome.finalized.round" : "outcome.finalized", { round: plan?.number ?? 0 }) : t.text(`outcome.${kind}`);
  return element(
    "section",
    { class: "outcome", dataset: { kind, seq, nested: String(isNested) } },
    element(
      "div",
      { class: "top" },
      element("span", { class: "seal", "aria-hidden": "true" }, icon(kind === "finalized" ? "check" : kind === "failed" ? "close" : "stop")),
      element("span", { class: "name" }, element(tag, {}, title), plan && marker(plan.writtenBy, t)),
      element("span", { class: "when" }, clock(at, t)),
    ),
    plan ? planBody(outcome, wanted, t) : reasonBody(outcome, t),
  );
}

/**
 * @param {Outcome} outcome
 * @param {Negotiation["wanted"]} wanted
 * @param {Translator} t
 */
function planBody({ plan, isComplete }, wanted, t) {
  if (!plan) return [];
  const missing = chips(plan.missing.map((capability) => capabilityText(capability, wanted, t)), t.text("outcome.missing"));
  return [
    ...longText(plan.summary, t, "said"),
    planTable(plan, wanted, t, null),
    totalLine(plan, wanted, t),
    !isComplete && element("div", { class: "part lack" }, element("span", { class: "term" }, t.text("outcome.missing")), missing),
  ];
}

/**
 * @param {Outcome} outcome
 * @param {Translator} t
 */
function reasonBody({ kind, reason, message, by }, t) {
  const words = reasonText(reason, t);
  if (kind === "cancelled" && !words) {
    const who = t.has(`outcome.by.${by}`) ? t.text(`outcome.by.${by}`) : textOf(by, 80);
    return [element("p", { class: "said", dir: "auto" }, who), ...longText(reason, t, "said muted")];
  }
  return [
    element("p", { class: "said", dir: "auto" }, words || textOf(message) || textOf(reason)),
    ...(words && message && message !== words ? longText(message, t, "muted") : []),
  ];
}
