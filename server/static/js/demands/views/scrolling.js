/** Finding the place of an event on the page, bringing it before the reader's eyes, and knowing whether that is welcome. */

import { byId } from "../../ui/views/static-texts.js";

const SETTLED_MS = 250; // without a scroll, after which the page has come to rest

/** What scrolls: the detail pane on wide screens, the page on narrow ones. @returns {Element} */
export function scroller() {
  const detail = byId("detail");
  return getComputedStyle(detail).overflowY === "auto" ? detail : (document.scrollingElement ?? document.body);
}

/**
 * The visible element that shows an event: its own, else that of the last event before it.
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

/** @param {HTMLElement | null} place */
export function bringIntoView(place) {
  const isTall = (place?.offsetHeight ?? 0) > window.innerHeight / 2;
  const target = isTall ? (place?.querySelector(".top, summary") ?? place) : place;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  target?.scrollIntoView({ block: isTall ? "start" : "nearest", behavior: isCalm ? "auto" : "smooth" });
}

/**
 * Whether the reader is looking at the newest step, and so wants to be taken along to the next one.
 *
 * What counts is where the page came to rest: while it still glides to one step the next may arrive. A wheel or a finger
 * ends it at once.
 *
 * @param {() => HTMLElement | null} newest its place
 * @returns {{isOn: boolean}} may also be set
 */
export function following(newest) {
  const state = { isOn: false };
  /** @type {number | undefined} */
  let timer;
  const settle = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => (state.isOn = isInView(newest())), SETTLED_MS);
  };
  const leave = () => {
    state.isOn = false;
    settle();
  };
  for (const target of [window, byId("detail")]) {
    target.addEventListener("scroll", settle, { passive: true });
    target.addEventListener("wheel", leave, { passive: true });
    target.addEventListener("touchmove", leave, { passive: true });
  }
  return state;
}
