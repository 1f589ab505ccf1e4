/**
 * One round: the proposal, and the answer of each participant.
 *
 * The newest is open; those before it are folded to one line with their results.
 *
 * @import { Answer, Negotiation, Round, Wanted } from "../negotiation-types.js"
 * @import { Child } from "../../lib/html.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Context, Stage } from "./stages.js"
 */

import { element } from "../../lib/html.js";
import { planTable, totalLine } from "./plan.js";
import { clock, textOf } from "../../ui/views/pieces.js";
import { capabilityText, chips, longText, marker, until } from "./pieces.js";
import { stageFrame } from "./stage-frame.js";

const SHOWN = 100;

/**
 * @param {Negotiation} negotiation
 * @param {Round} round
 * @param {Context} context
 * @returns {Stage}
 */
export function roundStage(negotiation, round, { t, level, isLive, isOpen, setOpen }) {
  const { wanted, outcome, rounds, names, id } = negotiation;
  const isLast = round === rounds.at(-1);
  const key = `${id} round ${round.seq}`;
  const state = round.isOpen ? "open" : isLast && outcome ? outcome.kind : "closed";
  const build = () => {
    const body = [
      longText(round.summary, t, "said"),
      planTable(round, wanted, t, (assignment) => answerCell(round, assignment.id, t)),
      totalLine(round, wanted, t),
      userLine(round, wanted, t),
      lists(round, wanted, names, t),
    ].flat();
    return stageFrame(
      {
        kind: "proposal",
        seq: round.seq,
        level,
        title: t.text("stage.proposal", { round: round.number }),
        extra: [element("span", { class: "badge", dataset: { status: state } }, t.text(`round.${state}`)), marker(round.writtenBy, t)],
        when: round.isOpen ? until(round.deadline, isLive, t) : clock(round.at, t),
      },
      isLast ? body : folded(key, round, body, t, isOpen(key, false), setOpen),
    );
  };
  const version = JSON.stringify([t.language, level, isLive && round.isOpen, isLast, state, round.seq, round.answers.map(({ seq }) => seq)]);
  return { key: `round ${round.seq}`, version, build };
}

/**
 * @param {string} key
 * @param {Round} round
 * @param {Child[]} body
 * @param {Translator} t
 * @param {boolean} isOpen
 * @param {(key: string, isOpen: boolean) => void} setOpen
 * @returns {HTMLElement}
 */
function folded(key, { answers, awaited }, body, t, isOpen, setOpen) {
  const count = (/** @type {string} */ decision) => answers.filter((answer) => answer.decision === decision).length;
  const parts = ["accept", "revise", "reject"].filter(count).map((decision) => t.text(`round.count.${decision}`, { count: count(decision) }));
  if (awaited.length) parts.push(t.text("round.count.silent", { count: awaited.length }));
  const details = element("details", { class: "fold", open: isOpen }, element("summary", {}, parts.join(" · ") || t.text("round.show")), element("div", { class: "inside" }, body));
  // Not the toggle event: that also comes for what the page opened itself.
  details.querySelector("summary")?.addEventListener("click", () => setOpen(key, !details.open));
  return details;
}

/**
 * @param {Round} round
 * @param {string} id
 * @param {Translator} t
 * @returns {Child[]}
 */
function answerCell(round, id, t) {
  const answer = round.answers.find((each) => !each.isUser && each.by === id);
  if (!answer) return [element("span", { class: "decision", dataset: { decision: round.isOpen ? "awaited" : "silent" } }, t.text(round.isOpen ? "decision.awaited" : "decision.silent"))];
  return decisionOf(answer, t);
}

/**
 * @param {Answer} answer
 * @param {Translator} t
 * @returns {Child[]}
 */
function decisionOf({ decision, comment, terms, writtenBy, seq }, t) {
  const price = typeof terms.price === "number" ? t.money(terms.price, typeof terms.currency === "string" ? terms.currency : "") : "";
  return [
    element("span", { class: "decision", dataset: { decision, seq } }, t.text(`decision.${decision}`), price && ` · ${price}`),
    ...longText(comment, t, "comment"),
    comment ? marker(writtenBy, t) : null,
  ];
}

/**
 * The user's answer, or that it is awaited.
 *
 * @param {Round} round
 * @param {Wanted | null} wanted
 * @param {Translator} t
 * @returns {HTMLElement | null}
 */
function userLine(round, wanted, t) {
  const answer = round.answers.find(({ isUser }) => isUser);
  if (!answer && !wanted?.confirm) return null;
  const name = wanted && wanted.user !== "anonymous" ? wanted.user : "";
  const state = round.isOpen ? "awaited" : "silent";
  return element(
    "div",
    { class: "by-user" },
    element("span", { class: "who" }, element("b", {}, t.text("round.user")), name && element("code", { dir: "auto" }, textOf(name, 120))),
    element("div", { class: "answer" }, answer ? decisionOf(answer, t) : element("span", { class: "decision", dataset: { decision: state } }, t.text(`decision.${state}`))),
  );
}

/**
 * What is missing, what the user wishes, and what of the round before was taken into account.
 *
 * @param {Round} round
 * @param {Wanted | null} wanted
 * @param {Map<string, string>} names
 * @param {Translator} t
 * @returns {(HTMLElement | null)[]}
 */
function lists({ missing, wishes, considered }, wanted, names, t) {
  const part = (/** @type {string} */ key, /** @type {Node | null} */ content, name = "") =>
    content && element("div", { class: `part ${name}` }, element("span", { class: "term" }, t.text(key)), content);
  return [
    part("round.missing", chips(missing.map((capability) => capabilityText(capability, wanted, t)), t.text("round.missing")), "lack"),
    part("round.wishes", wishes.length ? element("ul", { class: "plain-list" }, wishes.slice(0, SHOWN).map((wish) => element("li", {}, longText(wish, t)))) : null),
    consideredList(considered, wishes, names, t),
  ];
}

/**
 * @param {Round["considered"]} considered
 * @param {string[]} wishes of the user, which stand above already
 * @param {Map<string, string>} names
 * @param {Translator} t
 * @returns {HTMLElement | null}
 */
function consideredList(considered, wishes, names, t) {
  const said = considered.filter(({ isUser, comment }) => !isUser || !wishes.includes(comment)).slice(0, SHOWN);
  if (!said.length) return null;
  return element(
    "details",
    { class: "fold" },
    element("summary", {}, t.text("round.considered")),
    element(
      "ul",
      { class: "plain-list inside" },
      said.map(({ by, isUser, decision, comment }) =>
        element(
          "li",
          {},
          element("span", { dir: "auto" }, isUser ? t.text("round.user") : textOf(names.get(by) ?? by, 120)),
          " ",
          element("span", { class: "decision", dataset: { decision } }, t.has(`decision.${decision}`) ? t.text(`decision.${decision}`) : textOf(decision, 40)),
          longText(comment, t, "comment"),
        ),
      ),
    ),
  );
}
