/**
 * A field to write in and a button to send it: the text stays until the server has stored it, errors stand below.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { randomId } from "../../lib/random-id.js";
import { setText } from "../../lib/html.js";

/**
 * @typedef {object} Parts
 * @property {any} form
 * @property {any} field
 * @property {any} button
 * @property {any} message
 */

/**
 * @param {Parts} parts
 * @param {(content: string, messageId: string) => Promise<void>} send rejects when it was not stored
 * @param {(error: unknown) => string} explain
 * @returns {{render: (t: Translator, isEnabled: boolean) => void, complain: (text: string) => void, clear: () => void}}
 */
export function composer({ form, field, button, message }, send, explain) {
  /** @type {Translator} */
  let t;
  let isEnabled = false;
  let isSending = false;
  let attempt = { content: "", id: "" };

  const show = () => {
    field.disabled = !isEnabled;
    button.disabled = !isEnabled || isSending;
    button.textContent = t.text(isSending ? "chat.sending" : "chat.send");
  };
  /** @param {string} text */
  const complain = (text) => {
    setText(message, text);
  };
  const submit = async () => {
    const content = field.value.trim();
    if (isSending || !isEnabled || !content) return;
    // The same text again after a lost answer is the same message.
    if (attempt.content !== content) attempt = { content, id: randomId() };
    isSending = true;
    complain("");
    show();
    try {
      await send(content, attempt.id);
      attempt = { content: "", id: "" };
      if (field.value.trim() === content) field.value = "";
    } catch (error) {
      complain(explain(error));
    } finally {
      isSending = false;
      show();
    }
  };

  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void submit();
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void submit();
  });

  return {
    render(translator, isOn) {
      t = translator;
      isEnabled = isOn;
      show();
    },
    complain,
    clear() {
      field.value = "";
      complain("");
    },
  };
}
