/**
 * What tools ask, oldest first: what it is, how risky, how long there is, and the two answers with a reason.
 *
 * A card is built once and only taken away, so nothing moves under a finger that is about to answer; what goes wrong with
 * an answer stands on its card.
 *
 * @import { Prompt } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { RequestError } from "../../lib/http.js";
import { element, fill, reconcile, setText } from "../../lib/html.js";
import { failureText } from "../../ui/failure-text.js";
import { byId } from "../../ui/views/static-texts.js";
import { mixedScripts } from "../../lib/inert-text.js";
import { inert } from "../../ui/views/inert.js";
import { wholeFieldList } from "./values.js";

/**
 * @typedef {(prompt: Prompt, approved: boolean, reason: string) => Promise<void>} Answer rejects when it does not count
 */

/**
 * @param {Answer} answer
 * @returns {{render: (prompts: Prompt[], t: Translator) => void}}
 */
export function promptsView(answer) {
  const list = byId("prompt-list");
  let language = "";
  /** Reasons that are being written, kept over a change of the language. @type {Map<string, string>} */
  const reasons = new Map();
  /** Whether the focus was here last: a button that is disabled loses it without a word. */
  let wasHere = false;
  document.addEventListener("focusin", ({ target }) => (wasHere = list.contains(/** @type {Node} */ (target))));

  return {
    render(prompts, t) {
      const before = list.children.length;
      if (language !== t.language) for (const field of list.querySelectorAll("input")) reasons.set(field.id, field.value);
      language = t.language;
      reconcile(list, prompts, {
        key: ({ id }) => id,
        version: () => t.language,
        build: (prompt) => card(prompt, answer, reasons.get(fieldId(prompt)) ?? "", t),
      });
      for (const { id, deadline } of prompts) {
        const node = /** @type {HTMLElement | null} */ (list.querySelector(`[data-key="${CSS.escape(id)}"] .until`));
        if (node && deadline !== null) node.dataset.deadline = String(deadline);
      }
      const text = prompts.length ? t.count("prompts.count", prompts.length) : "";
      setText(byId("prompts-count"), text);
      fill(byId("prompts-state"), prompts.length === 0 && element("p", { class: "muted nothing" }, t.text("prompts.empty")));
      // Whose card went away with the focus on it goes on at the next one, or at the heading.
      if (wasHere && list.children.length < before && document.activeElement === document.body) (list.querySelector("input") ?? byId("prompts")).focus({ preventScroll: true });
    },
  };
}

/** @param {Prompt} prompt */
function fieldId({ seq }) {
  return `reason-${seq}`;
}

/**
 * @param {Prompt} prompt
 * @param {Answer} answer
 * @param {string} written
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function card(prompt, answer, written, t) {
  const { tool, risk, isDeclared, parameters, more, actor, timestamp, seq, deadline } = prompt;
  const message = element("p", { class: "message", role: "alert" });
  const reason = element("input", { type: "text", id: fieldId(prompt), maxlength: 500, autocomplete: "off", dir: "auto", value: written });
  const approve = element("button", { type: "button", class: "primary" }, t.text("prompt.approve"));
  const reject = element("button", { type: "button", class: "secondary bad" }, t.text("prompt.reject"));
  const send = async (/** @type {boolean} */ approved) => {
    const button = approved ? approve : reject;
    const label = button.textContent;
    approve.disabled = reject.disabled = true;
    button.textContent = t.text("prompt.sending");
    fill(message);
    fill(byId("prompts-message"));
    try {
      await answer(prompt, approved, reason.value.trim());
    } catch (error) {
      // Somebody else's answer, or the end of the time, may have taken the card away already.
      if (message.isConnected) fill(message, explain(error, t));
      else fill(byId("prompts-message"), t.text("prompt.late", { tool, message: explain(error, t) }));
      approve.disabled = reject.disabled = false;
    } finally {
      button.textContent = label;
    }
  };
  // Nobody answers what has not been on the screen to its end.
  approve.disabled = reject.disabled = true;
  const end = element("span", { class: "prompt-end", "aria-hidden": "true" });
  whenSeen(end, () => (approve.disabled = reject.disabled = false));
  const scripts = mixedScripts([tool, ...Object.keys(parameters), ...Object.keys(more)].join(" "));
  const lengthText = (/** @type {number} */ count) => t.count("prompt.length", count);
  const [before, after] = t.text("prompt.asks", { tool: "\u0000" }).split("\u0000");
  approve.addEventListener("click", () => void send(true));
  reject.addEventListener("click", () => void send(false));
  const title = `prompt-${seq}`;
  return element(
    "li",
    { class: "prompt card", dataset: { risk } },
    element(
      "article",
      { "aria-labelledby": title },
      element(
        "div",
        { class: "prompt-head" },
        element("h3", { id: title, dir: "auto" }, before, inert(tool), after),
        element("span", { class: "badge", dataset: { risk } }, t.text(`risk.${risk}`)),
      ),
      element("p", { class: "muted small-text" }, t.text(isDeclared ? "prompt.declared" : "prompt.undeclared"), actor && [" ", t.text("prompt.actor"), " ", inert(actor)]),
      scripts.length > 0 && element("p", { class: "warning", role: "note" }, t.text("prompt.mixed", { scripts: scripts.join(", ") })),
      Object.keys(parameters).length ? element("div", { role: "group", "aria-label": t.text("prompt.parameters") }, wholeFieldList(parameters, lengthText)) : element("p", { class: "muted small-text" }, t.text("prompt.bare")),
      Object.keys(more).length > 0 && element("div", { role: "group", "aria-label": t.text("prompt.more") }, element("p", { class: "term" }, t.text("prompt.more")), wholeFieldList(more, lengthText)),
      end,
      element("p", { class: "facts muted" }, element("time", { datetime: timestamp, title: t.date(timestamp) }, t.clock(timestamp)), element("span", { class: "until", role: "timer", dataset: deadline === null ? {} : { deadline } })),
      element("label", { for: reason.id, class: "term" }, t.text("prompt.reason")),
      element("div", { class: "answer-line" }, reason, approve, reject),
      message,
    ),
  );
}

/**
 * Call back once, when an element has been on the screen.
 *
 * @param {HTMLElement} node
 * @param {() => void} seen
 */
function whenSeen(node, seen) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    observer.disconnect();
    seen();
  });
  observer.observe(node);
}

/**
 * @param {unknown} error
 * @param {Translator} t
 * @returns {string}
 */
function explain(error, t) {
  const status = error instanceof RequestError ? error.status : -1;
  if (status === 409) return t.text("prompt.conflict");
  if (status === 410) return t.text("prompt.gone");
  if (status === 404) return t.text("prompt.missing");
  return t.text("prompt.failed", { message: failureText(error, t) });
}
