/**
 * Where the negotiation stands: the steps it has taken, and one sentence about what is awaited, which is announced.
 *
 * @import { Negotiation } from "../negotiation-types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, refill, setText } from "../../lib/html.js";
import { textOf } from "../../ui/views/pieces.js";
import { capabilityText, until } from "./pieces.js";

const STEPS = ["demand", "agents", "offers", "proposal", "result"];
const NAMED = 4; // names in the sentence, at most

/**
 * What is awaited now; empty when it has ended or nothing is wanted.
 *
 * @param {Negotiation} negotiation
 * @param {Translator} t
 * @returns {string}
 */
export function nowText(negotiation, t) {
  const { phase, candidates, invitation, offers, declines, awaited, awaitsUser, gaps, subnets, rounds, wanted, names } = negotiation;
  switch (phase) {
    case "understood":
      return t.text("now.understood");
    case "filtered":
      return t.count("now.filtered", candidates?.length ?? 0);
    case "collecting_offers":
      return t.text("now.collecting_offers", { answered: offers.length + declines.length, invited: invitation?.ids.length ?? 0 });
    case "filling_gaps": {
      const running = subnets.filter(({ outcome }) => !outcome).map(({ capability }) => capability);
      const missing = running.length ? running : gaps.slice(-1).map(({ capability }) => capability);
      return t.text(running.length ? "now.filling_gaps" : "now.gaps", { capabilities: enumerate(missing.map((each) => capabilityText(each, wanted, t)), t) });
    }
    case "proposing": {
      const people = awaited.map((id) => names.get(id) ?? id);
      if (awaitsUser) people.push(t.text("now.you"));
      const round = rounds.at(-1)?.number ?? 1;
      return people.length ? t.text("now.proposing", { round, names: enumerate(people, t) }) : t.text("now.answered", { round });
    }
    default:
      return "";
  }
}

/**
 * @param {string[]} names
 * @param {Translator} t
 * @returns {string}
 */
function enumerate(names, t) {
  const shown = names.slice(0, NAMED).map((name) => textOf(name, 60));
  if (names.length > shown.length) shown.push(t.text("list.others", { count: names.length - shown.length }));
  return t.list(shown);
}

/**
 * @param {HTMLElement} steps `<ol>`
 * @param {HTMLElement} now `<p role="status">`
 * @param {HTMLElement} time beside it, outside of the live region
 * @param {Negotiation} negotiation
 * @param {boolean} isLive
 * @param {Translator} t
 */
export function renderNow(steps, now, time, negotiation, isLive, t) {
  const { phase, deadline, rounds, outcome, round } = negotiation;
  const current = stepOf(negotiation);
  refill(steps, JSON.stringify([t.language, current, phase, round, rounds.length]), () => STEPS.map((step, i) => stepItem(step, i, current, negotiation, t)));
  const text = outcome ? "" : nowText(negotiation, t);
  setText(now, text);
  refill(time, JSON.stringify([t.language, deadline, isLive, Boolean(text)]), () => (text ? until(deadline, isLive, t) : null));
}

/**
 * @param {string} step
 * @param {number} i
 * @param {number} current
 * @param {Negotiation} negotiation
 * @param {Translator} t
 */
function stepItem(step, i, current, negotiation, t) {
  const { outcome, rounds, round } = negotiation;
  const isResult = step === "result";
  const state = outcome && isResult ? outcome.kind : isSkipped(step, negotiation) ? "skipped" : i < current || outcome ? "done" : i === current ? "now" : "later";
  const label = isResult && outcome ? t.text(`status.${outcome.kind}`) : step === "proposal" && rounds.length ? t.text("step.proposal.round", { round }) : t.text(`step.${step}`);
  return element(
    "li",
    { class: "step", dataset: { state }, "aria-current": state === "now" ? "step" : false },
    element("span", { class: "bead", "aria-hidden": "true" }),
    element("span", {}, label),
    state === "done" && element("span", { class: "visually-hidden" }, ` (${t.text("step.done")})`),
  );
}

/**
 * A negotiation that ended early has never come to the steps between.
 *
 * @param {string} step
 * @param {Negotiation} negotiation
 */
function isSkipped(step, { candidates, invitation, rounds, outcome }) {
  const reached = /** @type {Record<string, boolean>} */ ({ agents: candidates !== null, offers: invitation !== null, proposal: rounds.length > 0 });
  return Boolean(outcome) && reached[step] === false;
}

/**
 * @param {Negotiation} negotiation
 * @returns {number} index in STEPS
 */
function stepOf({ phase, rounds }) {
  if (phase === "new") return 0;
  if (phase === "understood" || phase === "filtered") return 1;
  if (phase === "collecting_offers") return 2;
  if (phase === "filling_gaps") return rounds.length ? 3 : 2;
  return phase === "proposing" ? 3 : 4;
}
