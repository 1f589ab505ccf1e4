/**
 * The first two stages: what is wanted, and the agents that could do it.
 *
 * @import { Candidate, Negotiation, Requirements, Wanted } from "../negotiation-types.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Context, Stage } from "./stages.js"
 */

import { element } from "../../lib/html.js";
import { clock, textOf } from "../../ui/views/pieces.js";
import { avatar, inWords, longText, marker, scoreOf, who } from "./pieces.js";
import { stageFrame } from "./stage-frame.js";

const SHOWN_CANDIDATES = 50;
const LEVELS = ["high", "medium", "low"];

/**
 * @param {Negotiation} negotiation
 * @param {Wanted} wanted
 * @param {Context} context
 * @returns {Stage}
 */
export function demandStage({ outcome }, wanted, { t, level }) {
  const { seq, at, raw, surface, confirm, writtenBy, forCapability } = wanted;
  const confidence = LEVELS.find((name) => name === wanted.confidence);
  const build = () =>
    stageFrame(
      { kind: "demand", seq, level, title: t.text("stage.demand"), extra: [marker(writtenBy, t)], when: clock(at, t) },
      element(
        "div",
        { class: "wants" },
        capabilityChips(wanted, t),
        confidence && element("span", { class: "level", dataset: { level: confidence } }, t.text(`payload.confidence.${confidence}`)),
      ),
      requirementList(wanted.requirements, t),
      confirm && !outcome && element("p", { class: "muted small-text" }, t.text("stage.demand.confirm")),
      !forCapability &&
        raw &&
        raw !== surface &&
        element("div", { class: "raw" }, element("span", { class: "term" }, t.text("payload.raw")), longText(raw, t, "as-written")),
    );
  return { key: "demand", version: JSON.stringify([t.language, level, seq, confirm && !outcome]), build };
}

/**
 * @param {Wanted} wanted
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function capabilityChips({ capabilities }, t) {
  if (!capabilities.length) return element("p", { class: "muted" }, t.text("payload.capabilities.none"));
  return element(
    "ul",
    { class: "chips", "aria-label": t.text("payload.capabilities") },
    capabilities.slice(0, 40).map(({ name, term }) => {
      const isSame = term.toLowerCase() === name.toLowerCase();
      return element("li", { class: "chip" }, element("b", {}, textOf(inWords(name), 120)), term && !isSame && element("span", { dir: "auto" }, textOf(term, 120)));
    }),
  );
}

/**
 * @param {Requirements} requirements
 * @param {Translator} t
 * @returns {HTMLElement | null} null when the text named none
 */
export function requirementList({ people, budget, currency, date }, t) {
  const facts = [
    people !== null && ["people", t.number(people)],
    budget !== null && ["budget", t.money(budget, currency)],
    date && ["date", textOf(t.day(date), 80)],
  ].filter((fact) => Array.isArray(fact));
  if (!facts.length) return null;
  return element(
    "dl",
    { class: "terms wide" },
    facts.map(([name, value]) => element("div", {}, element("dt", {}, t.text(`terms.${name}`)), element("dd", {}, value))),
  );
}

/**
 * @param {Negotiation} negotiation
 * @param {Candidate[]} candidates
 * @param {Context} context
 * @returns {Stage}
 */
export function candidatesStage({ candidatesSeq, candidatesAt }, candidates, { t, level }) {
  const best = Math.max(...candidates.map(({ score }) => Math.abs(score ?? 0)), 0);
  const rest = candidates.length - SHOWN_CANDIDATES;
  const build = () =>
    stageFrame(
      {
        kind: "agents",
        seq: candidatesSeq,
        level,
        title: t.text("stage.agents"),
        extra: [element("span", { class: "count" }, t.number(candidates.length))],
        when: clock(candidatesAt, t),
      },
      candidates.length
        ? element("ul", { class: "candidates" }, candidates.slice(0, SHOWN_CANDIDATES).map((candidate) => row(candidate, best, t)))
        : element("p", { class: "muted" }, t.text("payload.candidates.none")),
      rest > 0 && element("p", { class: "muted" }, t.text("list.more", { count: rest })),
    );
  return { key: "agents", version: JSON.stringify([t.language, level, candidatesSeq, candidates.slice(0, SHOWN_CANDIDATES).map(({ fate }) => fate)]), build };
}

/**
 * @param {Candidate} candidate
 * @param {number} best score of all
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function row({ id, name, reason, score, fate }, best, t) {
  return element(
    "li",
    { class: "candidate", dataset: { fate } },
    avatar(name),
    who(name, id),
    element("span", { class: "why", dir: "auto" }, reasonOf(reason)),
    score === null ? element("span") : scoreOf(score, best, t),
    element("span", { class: "fate", dataset: { fate } }, t.text(`fate.${fate}`)),
  );
}

/**
 * @param {string} reason "capability: term" as the server writes it, or any text
 * @returns {string} the term once where both are the same
 */
function reasonOf(reason) {
  const text = textOf(reason, 300);
  return inWords(/^(.+): \1$/.exec(text)?.[1] ?? text);
}
