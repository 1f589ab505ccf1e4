/**
 * Why the server did not do something in a session, in the reader's language; a conflict says who has it.
 *
 * @import { Translator } from "../i18n.js"
 */

import { RequestError } from "../../lib/http.js";

/**
 * @param {unknown} error
 * @param {Translator} t
 * @returns {string}
 */
export function explainRefusal(error, t) {
  if (!(error instanceof RequestError)) return String(error);
  const { status, details, message } = error;
  if (status === 409 && details?.agent_id) return t.text("refused.with_operator", { agent: String(details.agent_id) });
  if (status === 409 && t.has(`refused.${details?.status}`)) return t.text(`refused.${details.status}`);
  if (status === 404) return t.text("refused.missing");
  if (status === 403) return t.text("refused.forbidden", { message });
  return t.text("refused.unknown", { message: failureText(error, t) });
}

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
