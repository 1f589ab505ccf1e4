/**
 * The form for a new demand: examples, a limit that is seen before it is hit, and errors next to the text.
 *
 * The text stays in the field until the server has stored the demand.
 *
 * @import { Translator } from "../i18n.js"
 */

import { element, fill } from "../html.js";
import { EXAMPLES } from "../strings.js";
import { failureText } from "./refusal.js";
import { byId } from "./static-texts.js";

const COUNT_FROM = 8000; // characters, from where the count is shown
const LIMIT = 10_000; // characters, as the server has it

/**
 * @param {(rawInput: string, mustConfirm: boolean) => Promise<void>} submit rejects when the demand was not stored
 * @returns {{render: (t: Translator) => void}}
 */
export function submitView(submit) {
  const form = byId("submit");
  const field = byId("raw-input");
  const message = byId("submit-message");
  const hint = byId("submit-hint");
  const button = byId("submit-button");
  const mustConfirm = byId("must-confirm");
  /** @type {Translator} */
  let t;
  let isSending = false;

  const showState = () => {
    button.disabled = isSending;
    button.textContent = t.text(isSending ? "submit.sending" : "submit.button");
    const { length } = field.value;
    fill(hint, length >= COUNT_FROM ? t.text("submit.count", { count: length }) : element("kbd", {}, t.text("submit.shortcut")));
    hint.classList.toggle("full", length >= LIMIT);
  };
  /** @param {string} text */
  const complain = (text) => {
    message.textContent = text;
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  };
  const send = async () => {
    if (isSending) return;
    const rawInput = field.value.trim();
    if (!rawInput) {
      complain(t.text("submit.blank"));
      field.focus();
      return;
    }
    isSending = true;
    complain("");
    showState();
    try {
      await submit(rawInput, mustConfirm.checked);
      field.value = "";
    } catch (error) {
      complain(t.text("submit.failed", { message: failureText(error, t) }));
    } finally {
      isSending = false;
      showState();
    }
  };

  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void send();
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      void send();
    }
  });
  field.addEventListener("input", () => {
    complain("");
    showState();
  });

  return {
    render(translator) {
      t = translator;
      complain("");
      showState();
      const examples = [...EXAMPLES].sort((one, two) => Number(two.lang === t.language) - Number(one.lang === t.language));
      const choose = (/** @type {string} */ text) => {
        field.value = text;
        complain("");
        showState();
        field.focus();
      };
      fill(
        byId("examples"),
        examples.map(({ lang, text }) =>
          element("li", {}, element("button", { type: "button", lang, onclick: () => choose(text), title: text }, text)),
        ),
      );
    },
  };
}
