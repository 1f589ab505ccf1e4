/** @import { Translator } from "./i18n.js" */

import { RequestError } from "../lib/http.js";

/**
 * The text for a failure: the server's message, or one of ours where it sent none.
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
