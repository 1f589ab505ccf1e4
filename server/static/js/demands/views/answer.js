/**
 * The user's own answer to an open proposal: accept, ask for changes, or reject; errors stand next to the buttons.
 *
 * @import { Story } from "../story.js"
 * @import { Round } from "../negotiation-types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { answerProposal, RequestError } from "../api.js";
import { element } from "../../lib/html.js";
import { failureText } from "../../ui/failure-text.js";

const LIMIT = 1000; // characters of a comment, as the server has it

/**
 * What the server refused, with the state that it named.
 *
 * @param {unknown} error
 * @param {Translator} t
 * @returns {string}
 */
export function describeRefusal(error, t) {
  const phase = error instanceof RequestError ? String(error.details?.phase ?? "") : "";
  const state = t.has(`phase.${phase}`) ? t.text("answer.state", { phase: t.text(`phase.${phase}`) }) : "";
  return [failureText(error, t), state].filter(Boolean).join(" ");
}

/**
 * @param {Story} story
 * @param {Round} round open, and not answered by the user
 * @param {Translator} t
 * @returns {HTMLElement} a row of the stages
 */
export function answerForm({ negotiation }, round, t) {
  const { id, wanted } = negotiation;
  const isNeeded = Boolean(wanted?.confirm);
  const name = `${id}-${round.seq}`.replace(/[^\w-]/g, "-");
  const message = element("p", { class: "message", role: "alert", id: `answer-message-${name}` });
  const field = element("textarea", { id: `answer-${name}`, rows: 2, maxlength: LIMIT, dir: "auto", "aria-describedby": message.id });
  /** @type {HTMLButtonElement[]} */
  const buttons = [];

  /** @param {string} decision */
  const send = async (decision) => {
    const comment = field.value.trim();
    if (decision === "revise" && !comment) {
      message.textContent = t.text("answer.comment.needed");
      field.setAttribute("aria-invalid", "true");
      field.focus();
      return;
    }
    const pressed = buttons.find((button) => button.dataset.decision === decision);
    const label = pressed?.textContent ?? "";
    message.textContent = "";
    for (const button of buttons) button.disabled = true;
    if (pressed) pressed.textContent = t.text("answer.sending");
    try {
      await answerProposal(id, { user_id: wanted?.user ?? "anonymous", proposal_id: round.proposalId, decision, ...(comment && { comment }) });
      // The answer comes back as an event, which takes this form away: the focus goes where its effect is shown.
      document.getElementById("now")?.focus({ preventScroll: true });
    } catch (error) {
      message.textContent = t.text("answer.failed", { message: describeRefusal(error, t) });
      for (const button of buttons) button.disabled = false;
      pressed?.focus();
    } finally {
      if (pressed) pressed.textContent = label;
    }
  };
  field.addEventListener("input", () => {
    field.removeAttribute("aria-invalid");
    message.textContent = "";
  });
  for (const [decision, style] of [["accept", "primary"], ["revise", "secondary"], ["reject", "secondary bad"]]) {
    buttons.push(element("button", { type: "button", class: style, dataset: { decision }, onclick: () => void send(decision) }, t.text(`answer.${decision}`)));
  }
  return element(
    "li",
    { class: "stage answer-stage", dataset: { kind: "answer" } },
    element("span", { class: "node", "aria-hidden": "true" }),
    element(
      "form",
      { class: "card answer-form", role: "group", "aria-labelledby": `answer-title-${name}`, onsubmit: (event) => event.preventDefault() },
      element("h3", { id: `answer-title-${name}` }, t.text("answer.title")),
      element("p", { class: "muted small-text" }, t.text(isNeeded ? "answer.needed" : "answer.welcome")),
      element("label", { for: field.id, class: "term" }, t.text("answer.comment")),
      field,
      message,
      element("div", { class: "buttons" }, buttons),
    ),
  );
}
