/**
 * The same session from the other side: a visitor writes, asks for a human, and sees what happens.
 *
 * @import { Session } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { refill } from "../../lib/html.js";
import { randomId } from "../../lib/random-id.js";
import { NAME, permitted } from "../state.js";
import { chatLog, sessionBadge } from "./chat.js";
import { composer } from "./composer.js";
import { explainRefusal } from "./refusal.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * @typedef {object} Actions
 * @property {(name: string) => void} use another session
 * @property {(name: string, content: string, messageId: string) => Promise<void>} write
 * @property {(name: string, reason: string) => Promise<void>} ask for a human
 */

/**
 * @param {Actions} actions
 * @returns {{render: (session: Session, t: Translator) => void}}
 */
export function visitorView({ use, write, ask }) {
  const field = byId("visitor-session");
  const message = byId("visitor-message");
  const log = chatLog(byId("visitor-log"), "user");
  const reason = byId("visitor-reason");
  const askButton = byId("visitor-ask");
  /** @type {Session | null} */
  let shown = null;
  /** @type {Translator} */
  let t;
  const explain = (/** @type {unknown} */ error) => explainRefusal(error, t);
  const writing = composer(
    { form: byId("visitor-form"), field: byId("visitor-text"), button: byId("visitor-send"), message },
    (content, messageId) => write(shown?.name ?? "", content, messageId),
    explain,
  );

  byId("visitor-open-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const name = field.value.trim();
    writing.complain(NAME.test(name) ? "" : t.text("visitor.invalid"));
    if (NAME.test(name)) use(name);
    else field.focus();
  });
  byId("visitor-new").addEventListener("click", () => use(newSessionName()));
  byId("visitor-ask-form").addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!shown || askButton.disabled) return;
    askButton.disabled = true;
    writing.complain("");
    try {
      await ask(shown.name, reason.value.trim());
      reason.value = "";
    } catch (error) {
      writing.complain(explain(error));
    } finally {
      askButton.disabled = false;
    }
  });

  return {
    render(session, translator) {
      t = translator;
      if (session.name !== shown?.name) {
        writing.clear();
        field.value = session.name;
      }
      shown = session;
      refill(byId("visitor-status"), JSON.stringify([t.language, session.status, session.agentId]), () => sessionBadge(session, t));
      const { canAsk, canWrite } = permitted(session, "");
      byId("visitor-ask-form").hidden = !canAsk;
      byId("visitor-form").hidden = !canWrite;
      byId("visitor-closed").hidden = canWrite;
      writing.render(t, canWrite);
      log.render(session, t);
    },
  };
}

/** A name that nobody else is likely to have. @returns {string} */
export function newSessionName() {
  return `visitor-${randomId(4)}`;
}
