/** @import { Translator } from "./i18n.js" */

import { RequestError } from "../lib/http.js";

/**
 * What went wrong: the server's own words, or what can be said without them.
 *
 * @param {unknown} error
 * @param {Translator} t
 * @returns {string}
 */
export function failureText(error, t) {
  if (!(error instanceof RequestError)) return String(error);
  if (error.message) return error.message;
  return error.status ? t.text("error.status", { status: String(error.status) }) : t.text("error.network");
}
