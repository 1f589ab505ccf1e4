/**
 * The frame that every stage has: a place on the line, a heading with a count, a time, and its body.
 *
 * @import { Child } from "../../lib/html.js"
 */

import { element } from "../../lib/html.js";

/**
 * @param {object} frame
 * @param {string} frame.kind for its colour: demand, agents, offers, gap or proposal
 * @param {number} frame.seq of the event that began it
 * @param {number} frame.level of the heading
 * @param {string} frame.title
 * @param {Child[]} [frame.extra] beside the title
 * @param {Child} [frame.when] at the end of the line
 * @param {...(Child | Child[])} body
 * @returns {HTMLElement}
 */
export function stageFrame({ kind, seq, level, title, extra, when }, ...body) {
  const tag = /** @type {"h3"} */ (`h${Math.min(6, level)}`);
  return element(
    "li",
    { class: "stage", dataset: { kind, seq } },
    element("span", { class: "node", "aria-hidden": "true" }),
    element("div", { class: "top" }, element("span", { class: "name" }, element(tag, {}, title), extra ?? []), element("span", { class: "when" }, when ?? null)),
    element("div", { class: "body" }, ...body),
  );
}
