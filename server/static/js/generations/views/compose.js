/**
 * The form for a new run: what should be written and how, and whether it goes on from the last result.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { RequestError } from "../../lib/http.js";
import { PROMPTS } from "../strings.js";
import { failureText } from "../../ui/failure-text.js";
import { requestForm } from "../../ui/views/request-form.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * @param {object} actions
 * @param {(mode: "nova" | "loomi", prompt: string, goesOn: boolean) => Promise<void>} actions.start rejects when nothing was started
 * @param {{get: () => string, set: (value: string) => void}} actions.lastMode
 * @returns {{translate: (t: Translator) => void, render: (canGoOn: boolean, isFirst: boolean) => void}} examples are for the first run
 */
export function composeView({ start, lastMode }) {
  const { form, translate } = requestForm({
    ids: { form: "compose", field: "prompt", message: "compose-message", hint: "compose-hint", button: "start" },
    keys: { button: "generations.start", sending: "generations.starting", blank: "generations.blank" },
    examples: PROMPTS,
    async send(prompt) {
      await start(chosenMode(form), prompt, byId("continue").checked);
      byId("continue").checked = true;
    },
    explain,
  });
  form.addEventListener("change", () => lastMode.set(chosenMode(form)));
  if (lastMode.get() === "loomi") byId("mode-loomi").checked = true;

  return {
    translate,
    render(canGoOn, isFirst) {
      byId("continue-line").hidden = !canGoOn;
      byId("examples-part").hidden = !isFirst;
    },
  };
}

/**
 * @param {HTMLFormElement} form
 * @returns {"nova" | "loomi"}
 */
function chosenMode(form) {
  return new FormData(form).get("mode") === "loomi" ? "loomi" : "nova";
}

/**
 * @param {unknown} error
 * @param {Translator} t
 * @returns {string}
 */
function explain(error, t) {
  const status = error instanceof RequestError ? error.status : -1;
  if (status === 429) return t.text("generations.busy");
  if (status === 403) return t.text("generations.forbidden");
  return t.text("generations.failed", { message: failureText(error, t) });
}
