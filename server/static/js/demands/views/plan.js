/**
 * A plan as a table: agent, part, price and conditions of each row; and the total against the budget.
 *
 * @import { Assignment, Round, Wanted } from "../negotiation-types.js"
 * @import { Child } from "../../lib/html.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { bar, element } from "../../lib/html.js";
import { isDemandId, text } from "../../lib/fields.js";
import { textOf } from "../../ui/views/pieces.js";
import { avatar, capabilityText, longText, termList, who } from "./pieces.js";

const SHOWN = 100;

/**
 * The roles are spelled out because narrow screens lay the cells out as blocks, which would take the table's meaning away.
 *
 * @param {Round} round
 * @param {Wanted | null} wanted
 * @param {Translator} t
 * @param {((assignment: Assignment) => Child[]) | null} answerOf what stands in the last column; null for none
 * @returns {HTMLElement | null} null when nobody has a part
 */
export function planTable({ assignments, currency, number }, wanted, t, answerOf) {
  if (!assignments.length) return element("p", { class: "muted" }, t.text("plan.nobody"));
  const columns = ["plan.agent", "plan.does", "plan.price", ...(answerOf ? ["plan.answer"] : [])];
  const rest = assignments.length - SHOWN;
  return element(
    "div",
    { class: "plan" },
    element(
      "table",
      { role: "table", class: answerOf ? "" : "final", "aria-label": t.text(answerOf ? "stage.proposal" : "outcome.plan", { round: number }) },
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, columns.map((key) => element("th", { role: "columnheader", scope: "col" }, t.text(key))))),
      element("tbody", { role: "rowgroup" }, assignments.slice(0, SHOWN).map((assignment) => row(assignment, currency, wanted, t, answerOf))),
    ),
    rest > 0 && element("p", { class: "muted" }, t.text("list.more", { count: rest })),
  );
}

/**
 * @param {Assignment} assignment
 * @param {string} currency
 * @param {Wanted | null} wanted
 * @param {Translator} t
 * @param {((assignment: Assignment) => Child[]) | null} answerOf
 * @returns {HTMLElement}
 */
function row(assignment, currency, wanted, t, answerOf) {
  const { id, name, capabilities, terms, conditions, subnetId } = assignment;
  const cell = (/** @type {string} */ kind, /** @type {(Child | Child[])[]} */ ...content) => element("td", { role: "cell", class: `cell-${kind}` }, ...content);
  const settled = subnetId && element("span", { class: "decision", dataset: { decision: "settled" } }, t.text("decision.settled"));
  return element(
    "tr",
    { role: "row" },
    element("th", { role: "rowheader", scope: "row", class: "cell-agent" }, element("span", { class: "agent-name" }, avatar(name), who(name, id))),
    cell(
      "does",
      element("span", { class: "does", dir: "auto" }, t.list(capabilities.slice(0, 20).map((each) => textOf(capabilityText(each, wanted, t), 120)))),
      termList(terms, t),
      conditions.length > 0 &&
        element("div", { class: "conditions" }, element("span", { class: "term" }, t.text("plan.conditions")), element("ul", { class: "plain-list" }, conditions.slice(0, 20).map((condition) => element("li", {}, longText(condition, t))))),
      !answerOf && settled && via(subnetId, t),
    ),
    cell("price", priceOf(assignment, currency, t)),
    answerOf && cell("answer", ...(settled ? [settled, via(subnetId, t)] : answerOf(assignment))),
  );
}

/**
 * @param {string} subnetId as anybody may have written it
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function via(subnetId, t) {
  if (!isDemandId(subnetId)) return element("span", { class: "via" }, t.text("plan.via"));
  return element("a", { class: "via", href: `#${subnetId}` }, t.text("plan.via"));
}

/**
 * The proposed price, with the offered one struck where they differ.
 *
 * @param {Assignment} assignment
 * @param {string} currency of the plan
 * @param {Translator} t
 * @returns {Child[]}
 */
function priceOf({ price, offeredPrice, terms }, currency, t) {
  const own = text(terms.currency) || currency;
  if (price === null) return [element("span", { class: "muted" }, offeredPrice === null ? t.text("plan.no_price") : t.money(offeredPrice, own))];
  const isChanged = offeredPrice !== null && offeredPrice !== price;
  return [
    isChanged && element("s", {}, element("span", { class: "visually-hidden" }, `${t.text("plan.asked")} `), t.money(offeredPrice, own)),
    isChanged && " ",
    element("b", { class: "price" }, t.money(price, own)),
  ];
}

/**
 * The total, against the budget where there is one.
 *
 * @param {Round} round
 * @param {Wanted | null} wanted
 * @param {Translator} t
 * @returns {HTMLElement | null} null without a total
 */
export function totalLine({ total, currency, requirements }, wanted, t) {
  if (total === null) return null;
  const budget = requirements.budget ?? wanted?.requirements.budget ?? null;
  const limits = requirements.currency || wanted?.requirements.currency || currency;
  const isComparable = budget !== null && budget > 0 && (limits === currency || !currency);
  const isOver = isComparable && total > budget;
  return element(
    "div",
    { class: "total", dataset: { over: String(isOver) } },
    element("span", { class: "term" }, t.text("plan.total")),
    element("b", { class: "price" }, t.money(total, currency)),
    budget !== null && element("span", { class: "muted" }, t.text("plan.budget", { budget: t.money(budget, limits) })),
    isComparable && bar(total / budget),
    isOver && element("span", { class: "over-text" }, t.text("plan.over", { amount: t.money(total - budget, currency) })),
  );
}
