/**
 * The small parts that all pages show the same way: any value as a text, and the time of an event.
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
