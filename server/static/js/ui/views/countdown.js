/**
 * One ticker for all deadlines on the page: every element with `data-deadline` shows how much time is left.
 *
 * @import { Translator } from "../i18n.js"
 */

import { serverNow } from "../../lib/server-clock.js";
import { setText } from "../../lib/html.js";

const TICK_MS = 500;

/**
 * @param {() => Translator} translator the present one
 * @param {{left: string, over: string}} [keys] of its texts
 * @returns {() => void} writes all of them now, for elements that were just built
 */
export function countdowns(translator, { left: leftKey, over } = { left: "until.left", over: "until.over" }) {
  const write = () => {
    const now = serverNow();
    for (const node of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-deadline]"))) {
      const left = Math.ceil((Number(node.dataset.deadline) - now) / 1000);
      const text = left > 0 ? translator().text(leftKey, { time: timeLeft(left, translator()) }) : translator().text(over);
      setText(node, text);
      node.classList.toggle("over", left <= 0);
    }
  };
  window.setInterval(write, TICK_MS);
  return write;
}

/**
 * @param {number} seconds from 1
 * @param {Translator} t
 * @returns {string} such as `24 s`, `1:05 min`, `3 h`
 */
export function timeLeft(seconds, t) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
  return t.span(seconds * 1000);
}
