/**
 * The ways to disturb a stream: offline, an event that gets lost, one that is sent, and very many at once.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { failureText } from "../../ui/failure-text.js";
import { byId } from "../../ui/views/static-texts.js";
import { setText } from "../../lib/html.js";

/**
 * @typedef {object} TryState
 * @property {boolean} isOffline as this page pretends
 * @property {boolean} isArmed the next event will be dropped
 * @property {boolean} isOver nothing can be added
 *
 * @typedef {object} TryActions
 * @property {(isOffline: boolean) => void} setOffline
 * @property {() => void} drop or not, after all
 * @property {() => Promise<void>} sendOne rejects when it was not stored
 * @property {() => Promise<void>} sendBurst rejects when not all were stored
 */

/**
 * @param {TryActions} actions
 * @returns {{render: (state: TryState, t: Translator) => void, clear: () => void}}
 */
export function triesView(actions) {
  const offline = byId("try-offline");
  const drop = byId("try-drop");
  const message = byId("try-message");
  /** @type {Translator} */
  let t;
  /** @type {TryState} */
  let shown = { isOffline: false, isArmed: false, isOver: false };
  /** @type {Set<any>} */
  const busy = new Set();

  const show = () => {
    const { isOffline, isArmed, isOver } = shown;
    offline.textContent = t.text(isOffline ? "try.online" : "try.offline");
    drop.setAttribute("aria-pressed", String(isArmed));
    offline.disabled = isOver && !isOffline;
    drop.disabled = isOver;
    for (const [id, key] of [["try-one", "try.single"], ["try-burst", "try.burst"]]) {
      const button = byId(id);
      button.disabled = isOver || busy.has(button);
      button.textContent = busy.has(button) ? t.text("try.sending") : t.text(key);
    }
    const said = isOver ? "try.over" : isOffline ? "try.offline.detail" : isArmed ? "try.armed" : "";
    const line = said && t.text(said);
    setText(byId("try-state"), line);
  };
  /**
   * @param {string} id
   * @param {() => Promise<void>} send
   */
  const sends = (id, send) => {
    const button = byId(id);
    button.addEventListener("click", async () => {
      busy.add(button);
      message.textContent = "";
      show();
      try {
        await send();
      } catch (error) {
        message.textContent = t.text("try.failed", { message: failureText(error, t) });
      } finally {
        busy.delete(button);
        show();
      }
    });
  };
  offline.addEventListener("click", () => actions.setOffline(!shown.isOffline));
  drop.addEventListener("click", () => actions.drop());
  sends("try-one", () => actions.sendOne());
  sends("try-burst", () => actions.sendBurst());

  return {
    render(state, translator) {
      shown = state;
      t = translator;
      show();
    },
    clear() {
      message.textContent = "";
    },
  };
}
