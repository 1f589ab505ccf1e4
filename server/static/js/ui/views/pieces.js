/**
 * The small parts that all pages show the same way: any value as a text, the time of an event, and what stands where nothing does yet.
 *
 * @import { Translator } from "../i18n.js"
 */

import { element } from "../../lib/html.js";

const SHOWN_CHARACTERS = 600;

/**
 * Any JSON value as a text of bounded length; empty for null and what is missing.
 *
 * @param {any} value
 * @param {number} [limit] characters
 * @returns {string}
 */
export function textOf(value, limit = SHOWN_CHARACTERS) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

/**
 * The time of an event, small, with the whole date behind it.
 *
 * @param {string} timestamp
 * @param {Translator} t
 * @returns {HTMLElement}
 */
export function clock(timestamp, t) {
  return element("time", { datetime: timestamp, title: t.date(timestamp) }, t.clock(timestamp));
}

/**
 * Something is on its way.
 *
 * @param {string} text
 * @param {"status" | null} [role] null where it is announced otherwise
 * @returns {HTMLElement}
 */
export function waiting(text, role = "status") {
  return element("p", { class: "waiting", role }, element("span", { class: "spinner", "aria-hidden": "true" }), text);
}

/**
 * Something could not be read.
 *
 * @param {string} text
 * @param {() => void} retry
 * @param {Translator} t
 * @returns {HTMLElement}
 */
export function problem(text, retry, t) {
  const button = element("button", { type: "button", class: "small", onclick: retry }, t.text("text.retry"));
  return element("div", { class: "problem", role: "alert" }, element("p", {}, text), button);
}

/**
 * There is nothing yet.
 *
 * @param {string} title
 * @param {string} detail
 * @returns {HTMLElement}
 */
export function empty(title, detail) {
  return element("div", { class: "empty" }, element("p", { class: "strong" }, title), element("p", {}, detail));
}
