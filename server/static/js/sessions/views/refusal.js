/**
 * Why the server refused a command of a session, in the reader's language; a conflict names the operator that has it.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { RequestError } from "../../lib/http.js";
import { failureText } from "../../ui/failure-text.js";

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
