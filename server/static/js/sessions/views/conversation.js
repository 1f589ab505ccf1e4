/**
 * The chosen session as its operator sees it: its holder, its messages, and the commands that are allowed now.
 *
 * @import { Session } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { fill, refill } from "../../lib/html.js";
import { permitted } from "../state.js";
import { chatLog, sessionBadge } from "./chat.js";
import { closingView } from "./closing.js";
import { composer } from "./composer.js";
import { explainRefusal } from "./refusal.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * @typedef {object} Actions all reject when the server refused
 * @property {(name: string) => Promise<void>} takeOver
 * @property {(name: string, close: boolean) => Promise<void>} release
 * @property {(name: string, content: string, messageId: string) => Promise<void>} reply
 */

/**
 * @param {Actions} actions
 * @returns {{render: (session: Session | null, isRefused: boolean, operatorId: string, t: Translator) => void}}
 */
export function conversationView(actions) {
  const log = chatLog(byId("chat-log"), "operator");
  const message = byId("chat-message");
  const closing = closingView(() => shown && act((name) => actions.release(name, true), false));
  /** @type {Session | null} */
  let shown = null;
  /** @type {Translator} */
  let t;
  let isBusy = false;
  let wantsFocus = false;
  let statusSeen = "";

  const explain = (/** @type {unknown} */ error) => explainRefusal(error, t);
  const writing = composer(
    { form: byId("reply-form"), field: byId("reply"), button: byId("reply-send"), message },
    (content, messageId) => actions.reply(shown?.name ?? "", content, messageId),
    explain,
  );
  /**
   * @param {(name: string) => Promise<void>} run
   * @param {boolean} [thenWrite]
   */
  const act = async (run, thenWrite = false) => {
    if (!shown || isBusy) return;
    isBusy = true;
    wantsFocus = thenWrite; // as soon as the stream brings the new status, before or after the answer
    writing.complain("");
    showActions();
    try {
      await run(shown.name);
    } catch (error) {
      wantsFocus = false;
      writing.complain(explain(error));
    } finally {
      isBusy = false;
      showActions();
    }
  };
  const takeover = byId("takeover");
  const release = byId("release");
  const close = byId("close-session");
  takeover.addEventListener("click", () => void act(actions.takeOver, true));
  release.addEventListener("click", () => void act((name) => actions.release(name, false)));
  close.addEventListener("click", () => shown && closing.open());
  let mayTakeOver = false;
  let mayRelease = false;
  function showActions() {
    takeover.hidden = !mayTakeOver;
    release.hidden = close.hidden = !mayRelease;
    takeover.disabled = release.disabled = close.disabled = isBusy;
  }

  return {
    render(session, isRefused, operatorId, translator) {
      t = translator;
      closing.render(t);
      if (session?.name !== shown?.name) {
        writing.clear();
        wantsFocus = false;
        statusSeen = "";
      }
      shown = session;
      byId("chat-none").hidden = session !== null;
      byId("chat-some").hidden = session === null;
      if (!session) return;
      const standing = `${session.status}/${session.agentId}`;
      if (statusSeen && standing !== statusSeen && session.agentId === operatorId) writing.complain("");
      statusSeen = standing;
      byId("chat-title").textContent = session.name;
      refill(byId("chat-status"), JSON.stringify([t.language, standing]), () => sessionBadge(session, t));
      const { canTakeOver, canSpeak, canRelease } = permitted(session, operatorId);
      [mayTakeOver, mayRelease] = [canTakeOver, canRelease];
      showActions();
      writing.render(t, canSpeak);
      byId("reply").setAttribute("placeholder", canSpeak ? t.text("chat.placeholder", { agent: operatorId }) : "");
      byId("reply-form").hidden = !canSpeak;
      const note = byId("chat-note");
      note.hidden = canSpeak;
      const locked = isRefused ? t.text("chat.refused") : t.text(`chat.locked.${session.status}`, { agent: session.agentId });
      if (!canSpeak && note.textContent !== locked) fill(note, locked);
      log.render(session, t);
      if (canSpeak && wantsFocus) {
        wantsFocus = false;
        byId("reply").focus();
      }
    },
  };
}
