/**
 * Reading values that anybody may have written: each function takes any JSON value and always gives its type back.
 */

const DEFAULT_SECONDS = 30; // for an invitation or proposal that names no time

/**
 * @param {any} value
 * @returns {string} empty for everything but a text
 */
export function text(value) {
  return typeof value === "string" ? value : "";
}

/**
 * @param {any} value
 * @returns {number | null} null for everything but a finite number
 */
export function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/**
 * @param {any} value
 * @returns {number} a whole number from 0; 0 for everything else
 */
export function count(value) {
  return Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

/**
 * @param {any} value
 * @returns {Record<string, any>} empty for everything but an object
 */
export function object(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/**
 * @param {any} value
 * @returns {Record<string, any>[]} the objects in a list, in order
 */
export function objects(value) {
  return Array.isArray(value) ? value.filter((item) => typeof item === "object" && item !== null && !Array.isArray(item)) : [];
}

/**
 * @param {any} value
 * @returns {string[]} the texts in a list that are not empty, in order, each once
 */
export function texts(value) {
  return Array.isArray(value) ? [...new Set(value.filter((item) => typeof item === "string" && item))] : [];
}

/**
 * @param {any} value
 * @returns {"rules" | "llm" | ""} who wrote a text; empty: nobody of the two, or unsaid
 */
export function writer(value) {
  return value === "rules" || value === "llm" ? value : "";
}

/**
 * The end of a time that people were given, counted from the event that began it.
 *
 * @param {string} timestamp ISO-8601
 * @param {any} seconds 0 to 1e9; anything else counts as 30, as on the server
 * @returns {number | null} ms since 1970; null when the timestamp is no time
 */
export function deadline(timestamp, seconds) {
  const given = number(seconds);
  const end = Date.parse(timestamp) + (given !== null && given >= 0 && given <= 1e9 ? given : DEFAULT_SECONDS) * 1000;
  return Number.isNaN(end) ? null : end;
}

/**
 * Whether a text can be the id of a demand, so that there may be a stream of that name and an address in this page.
 *
 * @param {string} id
 * @returns {boolean}
 */
export function isDemandId(id) {
  return /^d-[A-Za-z0-9._:-]{1,119}$/.test(id);
}
