/**
 * A form with one text that is sent: a limit that is seen before it is hit, errors next to the text, Ctrl + Enter, and examples.
 *
 * The text stays in the field until the server has stored what it asks for.
 *
 * @import { Translator } from "../i18n.js"
 */

import { element, fill } from "../../lib/html.js";
import { byId } from "./static-texts.js";

const COUNT_FROM = 8000; // characters, from where the count is shown
const LIMIT = 10_000; // characters, as the server has it

/**
 * @typedef {object} RequestForm
 * @property {HTMLFormElement} form
 * @property {(t: Translator) => void} translate
 *
 * @typedef {object} RequestFormOptions
 * @property {{form: string, field: string, message: string, hint: string, button: string}} ids
 * @property {{button: string, sending: string, blank: string}} keys of its texts
 * @property {{lang: string, text: string}[]} examples those in the reader's language come first
 * @property {(text: string) => Promise<void>} send rejects when nothing was stored
 * @property {(error: unknown, t: Translator) => string} explain
 */

/**
 * @param {RequestFormOptions} options
 * @returns {RequestForm}
 */
export function requestForm({ ids, keys, examples, send, explain }) {
  const form = byId(ids.form);
  const field = byId(ids.field);
  const message = byId(ids.message);
  const hint = byId(ids.hint);
  const button = byId(ids.button);
  /** @type {Translator} */
  let t;
  let isSending = false;

  const showState = () => {
    button.disabled = isSending;
    button.textContent = t.text(isSending ? keys.sending : keys.button);
    const { length } = field.value;
    fill(hint, length >= COUNT_FROM ? t.text("form.count", { count: length }) : element("kbd", {}, t.text("form.shortcut")));
    hint.classList.toggle("full", length >= LIMIT);
  };
  /** @param {string} text */
  const complain = (text) => {
    message.textContent = text;
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  };
  const sendText = async () => {
    if (isSending) return;
    const text = field.value.trim();
    complain(text ? "" : t.text(keys.blank));
    if (!text) return field.focus();
    isSending = true;
    showState();
    try {
      await send(text);
      field.value = "";
    } catch (error) {
      complain(explain(error, t));
    } finally {
      isSending = false;
      showState();
    }
  };
  const choose = (/** @type {string} */ text) => {
    field.value = text;
    complain("");
    showState();
    field.focus();
  };

  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void sendText();
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      void sendText();
    }
  });
  field.addEventListener("input", () => {
    complain("");
    showState();
  });

  return {
    form,
    translate(translator) {
      t = translator;
      complain("");
      showState();
      const sorted = [...examples].sort((one, two) => Number(two.lang === t.language) - Number(one.lang === t.language));
      fill(
        byId("examples"),
        sorted.map(({ lang, text }) => element("li", {}, element("button", { type: "button", lang, onclick: () => choose(text), title: text }, text))),
      );
    },
  };
}
