/** Reading values that anybody may have written: each function takes any JSON value and always gives its type back. */

const DEFAULT_SECONDS = 30; // for an invitation or proposal that names no time
const LONGEST_SECONDS = 86_400;
const LONGEST_EXTENSION_SECONDS = 604_800;
// What counts of a list or of terms that somebody wrote; the server leaves out the same.
const MOST_TEXTS = 100;
const LONGEST_TEXT = 1000; // characters
const MOST_TERMS_BYTES = 4096;
const DEEPEST_TERMS = 8; // levels of objects and lists

/**
 * @param {any} value
 * @returns {string} empty for everything but a text, and for a blank one
 */
export function text(value) {
  return typeof value === "string" && value.trim() ? value : "";
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
 * @returns {string[]} the texts in a list that are not blank, in order, each once
 */
export function texts(value) {
  return Array.isArray(value) ? [...new Set(value.filter((item) => text(item)))] : [];
}

/**
 * @param {any} value
 * @returns {string[]} like `texts`, without those that are too long for a name, and not more than a hundred
 */
export function shortTexts(value) {
  return texts(value).filter(isShort).slice(0, MOST_TEXTS);
}

/**
 * @param {any} value
 * @returns {{name: string, term: string}[]} the capabilities of a demand, as it names them
 */
export function capabilities(value) {
  return objects(value)
    .slice(0, MOST_TEXTS)
    .map((item) => ({ name: text(item.capability), term: text(item.term) }))
    .filter(({ name }) => name && isShort(name));
}

/**
 * @param {any} value
 * @returns {Record<string, any>} the terms of an offer or assignment; none when they are too large or nest too deep
 */
export function terms(value) {
  const given = object(value);
  const isSmall = levels(given) <= DEEPEST_TERMS && new TextEncoder().encode(JSON.stringify(given)).length <= MOST_TERMS_BYTES;
  return isSmall ? given : {};
}

/**
 * @param {any} value
 * @returns {string} the id of an agent; empty for what cannot be one
 */
export function agentId(value) {
  return isName(value, 122) ? value : "";
}

/**
 * @param {any} value
 * @returns {"rules" | "llm" | ""} the origin of a text; empty: neither, or not given
 */
export function writer(value) {
  return value === "rules" || value === "llm" ? value : "";
}

/**
 * The end of a time that people were given, counted from the event that began it.
 *
 * @param {string} timestamp ISO-8601
 * @param {any} seconds 0 or more, of which 86,400 count; anything else counts as 30, as on the server
 * @returns {number | null} ms since 1970; null when the timestamp is no time
 */
export function deadline(timestamp, seconds) {
  const given = number(seconds);
  const end = Date.parse(timestamp) + (given !== null && given >= 0 ? Math.min(given, LONGEST_SECONDS) : DEFAULT_SECONDS) * 1000;
  return Number.isNaN(end) ? null : end;
}

/**
 * The time that an event of the type `deadline.extended` adds.
 *
 * @param {any} seconds 0 to 604,800; 0 for anything else
 * @returns {number} ms
 */
export function extension(seconds) {
  const given = number(seconds);
  return given !== null && given >= 0 ? Math.min(given, LONGEST_EXTENSION_SECONDS) * 1000 : 0;
}

/**
 * Whether a text can be the id of a demand, so that there may be a stream of that name.
 *
 * @param {any} id
 * @returns {boolean}
 */
export function isDemandId(id) {
  return isName(id, 121);
}

/**
 * @param {any} value
 * @param {number} length at most; with the kind of its stream and a colon 128 characters
 * @returns {boolean}
 */
function isName(value, length) {
  return typeof value === "string" && value.length <= length && /^[A-Za-z0-9._:-]+$/.test(value);
}

/** @param {string} value */
function isShort(value) {
  return value.length <= LONGEST_TEXT || [...value].length <= LONGEST_TEXT;
}

/**
 * @param {any} value
 * @returns {number} how many levels of objects and lists it has
 */
function levels(value) {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Object.values(value).reduce((deepest, item) => Math.max(deepest, levels(item)), 0);
}
