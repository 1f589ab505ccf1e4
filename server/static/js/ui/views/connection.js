/**
 * The connection for people: a label that is always there, and a notice with a countdown while something is wrong.
 *
 * The countdown ticks outside of live regions, so that a screen reader hears changes of state only.
 *
 * @import { StreamState } from "../../lib/stream-options.js"
 * @import { Translator } from "../i18n.js"
 */

import { byId } from "./static-texts.js";
import { setText } from "../../lib/html.js";

const SAID_MS = 8000;
const NOTICE_AFTER_MS = 1200; // a hiccup that heals by itself needs no notice

/**
 * @typedef {object} ConnectionView
 * @property {(state: StreamState, headSeq: number, t: Translator) => void} render
 * @property {(text: string) => void} say shows a text for a few seconds
 */

/**
 * @param {() => void} reconnectNow
 * @returns {ConnectionView}
 */
export function connectionView(reconnectNow) {
  const pill = byId("connection");
  const label = byId("connection-label");
  const notice = byId("notice");
  const noticeText = byId("notice-text");
  const countdown = byId("notice-countdown");
  const button = byId("reconnect");
  button.addEventListener("click", reconnectNow);

  /** @type {{state: StreamState, headSeq: number, t: Translator} | null} */
  let shown = null;
  let troubleSince = 0;
  let shownUntil = 0;
  /** @type {number | undefined} */
  let ticker;

  const tick = () => {
    if (!shown) return;
    const { state, headSeq, t } = shown;
    if (!troubleSince && Date.now() < shownUntil) return;
    notice.hidden = !troubleSince || Date.now() - troubleSince < NOTICE_AFTER_MS;
    if (notice.hidden) return;
    setText(noticeText, noticeFor(state, headSeq, t));
    setText(countdown, countdownFor(state, t));
    button.hidden = state.name === "polling" && state.nextTryAt === null;
  };

  return {
    say(text) {
      troubleSince = 0;
      notice.hidden = false;
      button.hidden = true;
      setText(noticeText, text);
      setText(countdown, "");
      shownUntil = Date.now() + SAID_MS;
      window.setTimeout(tick, SAID_MS);
    },
    render(state, headSeq, t) {
      shown = { state, headSeq, t };
      pill.dataset.state = state.name;
      setText(label, t.text(`connection.${state.name}`));
      const isTrouble = state.name !== "connected" && (state.name !== "connecting" || state.attempt > 0);
      if (!isTrouble) {
        troubleSince = 0;
        window.clearInterval(ticker);
        ticker = undefined;
      } else if (!troubleSince) {
        // Offline and closed are decisions, not hiccups: shown at once.
        troubleSince = state.name === "reconnecting" ? Date.now() : Date.now() - NOTICE_AFTER_MS;
        ticker ??= window.setInterval(tick, 250);
      } else if (state.name === "offline" || state.name === "closed") {
        troubleSince = Date.now() - NOTICE_AFTER_MS;
      }
      tick();
    },
  };
}

/**
 * @param {StreamState} state
 * @param {number} seq
 * @param {Translator} t
 */
function noticeFor(state, seq, t) {
  if (state.name === "offline") return t.text("connection.offline.detail", { seq });
  if (state.name === "polling") return t.text("connection.polling.detail");
  if (state.name === "closed") return t.text("connection.closed.detail", { reason: state.reason ?? "" });
  return t.text("connection.lost", { seq });
}

/**
 * @param {StreamState} state
 * @param {Translator} t
 */
function countdownFor({ name, attempt, nextTryAt }, t) {
  if (name !== "reconnecting") return "";
  if (nextTryAt === null) return t.text("connection.trying", { attempt: attempt + 1 });
  return t.text("connection.next", { attempt, seconds: Math.max(0, Math.ceil((nextTryAt - Date.now()) / 1000)) });
}
