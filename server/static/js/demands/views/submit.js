/** The form for a new demand. @import { Translator } from "../../ui/i18n.js" */

import { EXAMPLES } from "../strings.js";
import { failureText } from "../../ui/failure-text.js";
import { requestForm } from "../../ui/views/request-form.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * @param {(rawInput: string, mustConfirm: boolean) => Promise<void>} submit rejects when the demand was not stored
 * @returns {{translate: (t: Translator) => void}}
 */
export function submitView(submit) {
  return requestForm({
    ids: { form: "submit", field: "raw-input", message: "submit-message", hint: "submit-hint", button: "submit-button" },
    keys: { button: "submit.button", sending: "submit.sending", blank: "submit.blank" },
    examples: EXAMPLES,
    send: (rawInput) => submit(rawInput, byId("must-confirm").checked),
    explain: (error, t) => t.text("submit.failed", { message: failureText(error, t) }),
  });
}
