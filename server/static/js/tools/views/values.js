/** Parameters and results of tools, which may be any JSON: short ones as a line, the others as text that can be opened. */

import { element } from "../../lib/html.js";
import { inert } from "../../ui/views/inert.js";
import { textOf } from "../../ui/views/pieces.js";

const SHORT = 120; // characters
const LONGEST = 20_000;
const SHOWN_FIELDS = 20;

/**
 * The fields of an object, each a name and its value.
 *
 * @param {Record<string, any>} fields
 * @returns {HTMLElement}
 */
export function fieldList(fields) {
  return element(
    "dl",
    { class: "fields" },
    Object.entries(fields)
      .slice(0, SHOWN_FIELDS)
      .map(([name, value]) => element("div", {}, element("dt", { dir: "auto" }, textOf(name, 80)), element("dd", { dir: "auto" }, shown(value)))),
  );
}

/**
 * Every field of an object, whole: where a person decides by them nothing is cut, and nothing in a text stays hidden.
 *
 * @param {Record<string, any>} fields
 * @param {(characters: number) => string} lengthText
 * @returns {HTMLElement}
 */
export function wholeFieldList(fields, lengthText) {
  return element(
    "dl",
    { class: "fields" },
    Object.entries(fields).map(([name, value]) => element("div", {}, element("dt", {}, inert(name)), element("dd", {}, whole(value, lengthText)))),
  );
}

/**
 * @param {any} value
 * @param {(characters: number) => string} lengthText
 * @returns {Node[]}
 */
function whole(value, lengthText) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  if (text.length <= SHORT && !text.includes("\n")) return [element(typeof value === "string" ? "span" : "code", { class: "as-written" }, inert(text))];
  return [element("p", { class: "muted small-text" }, lengthText([...text].length)), element("pre", { class: "value", tabindex: 0 }, inert(text))];
}

/**
 * Any value: a short one as it is, a long one in a box of its own.
 *
 * @param {any} value
 * @param {string} [nothing] shown for null
 * @returns {Node}
 */
export function shown(value, nothing = "null") {
  if (value === null || value === undefined) return element("span", { class: "muted" }, nothing);
  const isText = typeof value === "string";
  const text = isText ? value : JSON.stringify(value, null, 2);
  if (text.length <= SHORT && !text.includes("\n")) return element(isText ? "span" : "code", { class: "as-written" }, text);
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return element("pre", { class: "value", tabindex: 0, dir: "auto" }, cut);
}
