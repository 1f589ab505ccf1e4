/**
 * Finding the place of an event on the page, and bringing it before the reader's eyes.
 */

import { byId } from "./static-texts.js";

/**
 * What scrolls: the detail pane on wide screens, the page on narrow ones.
 *
 * @returns {Element}
 */
export function scroller() {
  const detail = byId("detail");
  return getComputedStyle(detail).overflowY === "auto" ? detail : (document.scrollingElement ?? document.body);
}

/**
 * The visible element that tells an event: its own, else that of the last event before it.
 *
 * @param {HTMLElement} panel
 * @param {number} seq
 * @returns {HTMLElement | null}
 */
export function placeOf(panel, seq) {
  /** @type {HTMLElement | null} */
  let place = null;
  let best = 0;
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (panel.querySelectorAll("[data-seq]"))) {
    const own = Number(node.dataset.seq);
    // Of elements with the same seq the innermost comes last.
    if (own <= seq && own >= best && node.checkVisibility()) {
      best = own;
      place = node;
    }
  }
  return place;
}

/**
 * @param {HTMLElement | null} place
 * @returns {boolean} whether its beginning is on the screen
 */
export function isInView(place) {
  if (!place?.checkVisibility()) return false;
  const { top } = place.getBoundingClientRect();
  return top >= 0 && top <= byId("player").getBoundingClientRect().top;
}

/**
 * @param {HTMLElement | null} place
 */
export function bringIntoView(place) {
  const isTall = (place?.offsetHeight ?? 0) > window.innerHeight / 2;
  const target = isTall ? (place?.querySelector(".top, summary") ?? place) : place;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  target?.scrollIntoView({ block: "nearest", behavior: isCalm ? "auto" : "smooth" });
}
