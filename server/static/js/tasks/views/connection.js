/**
 * The connection of a task's stream: the component that any page can use, and how long an event is on its way.
 *
 * @import { Translator } from "../../ui/i18n.js"
 * @import { TaskWatch } from "../feed.js"
 */

import { ConnectionStatus } from "../../components/ConnectionStatus.js";
import { isOver } from "../state.js";
import { byId } from "../../ui/views/static-texts.js";
import { setText } from "../../lib/html.js";

/** @returns {{render: (watch: TaskWatch, t: Translator) => void}} */
export function taskConnectionView() {
  /** @type {ConnectionStatus | null} */
  let component = null;
  let language = "";
  /** @type {object | null} */
  let shownState = null;
  let shownStats = "";

  return {
    render(watch, t) {
      if (t.language !== language) {
        component?.destroy();
        component = new ConnectionStatus({ container: byId("connection-status"), showStats: true, showReconnectTimer: true, lang: t.language });
        language = t.language;
        shownState = null;
        shownStats = "";
      }
      if (watch.state !== shownState) {
        shownState = watch.state;
        component?.setState(watch.serviceState, { reconnectAttempt: watch.state.attempt, reconnectDelay: timeLeft(watch) });
      }
      const stats = watch.stats;
      if (JSON.stringify(stats) !== shownStats) {
        shownStats = JSON.stringify(stats);
        component?.setStats(stats);
      }
      setText(byId("delays"), delayText(watch, t));
    },
  };
}

/**
 * @param {TaskWatch} watch
 * @returns {number} milliseconds until the next try, as this may be shown later than it was planned
 */
function timeLeft({ state, reconnectDelay }) {
  return state.nextTryAt === null ? reconnectDelay : Math.max(0, state.nextTryAt - Date.now());
}

/**
 * @param {TaskWatch} watch
 * @param {Translator} t
 */
function delayText({ delays, task }, t) {
  const found = delays.summary;
  if (!found) return isOver(task) ? "" : t.text("stream.delay.none");
  return t.text("stream.delay", { median: t.span(found.median), slowest: t.span(found.slowest), count: found.count });
}
