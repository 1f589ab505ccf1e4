/**
 * The picture behind the slider: one mark per event in the colour of what happened, filled up to the position.
 *
 * Decoration only: the slider itself has everything in words.
 *
 * @import { StoredEvent } from "../../lib/types.js"
 */

const SVG = "http://www.w3.org/2000/svg";
const MOST_MARKS = 400; // more of them cannot be told apart

const KINDS = /** @type {Record<string, string>} */ ({
  "towow.demand.understood": "step",
  "towow.filter.completed": "step",
  "towow.demand.broadcast": "step",
  "towow.offer.submitted": "offer",
  "towow.offer.declined": "no",
  "towow.gap.identified": "gap",
  "towow.subnet.triggered": "gap",
  "towow.subnet.completed": "gap",
  "towow.proposal.distributed": "proposal",
  "towow.proposal.finalized": "good",
  "towow.negotiation.failed": "bad",
  "towow.negotiation.cancelled": "no",
});
const DECISIONS = /** @type {Record<string, string>} */ ({ accept: "good", revise: "gap", reject: "bad" });

/**
 * @param {SVGElement} svg
 * @param {StoredEvent[]} positions
 * @param {number} index
 */
export function drawTrack(svg, positions, index) {
  const last = Math.max(1, positions.length - 1);
  const share = (/** @type {number} */ place) => `${(100 * Math.max(0, place)) / last}%`;
  const version = `${positions.length} ${positions.at(-1)?.seq}`;
  if (svg.dataset.version !== version) {
    svg.dataset.version = version;
    svg.replaceChildren(rail("rail"), rail("filled"), ...(positions.length > MOST_MARKS ? [] : positions.map((event, i) => mark(event, share(positions.length > 1 ? i : 0)))));
  }
  svg.querySelector(".filled")?.setAttribute("width", share(index));
}

/**
 * @param {string} className
 * @returns {SVGElement}
 */
function rail(className) {
  const rect = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ class: className, y: "10", height: "4", rx: "2", width: "100%" })) rect.setAttribute(name, value);
  return rect;
}

/**
 * @param {StoredEvent} event
 * @param {string} x
 * @returns {SVGElement}
 */
function mark({ event_type, payload }, x) {
  const dot = document.createElementNS(SVG, "circle");
  const decision = event_type === "towow.proposal.feedback" ? DECISIONS[String(payload?.decision)] : undefined;
  const kind = decision ?? KINDS[event_type] ?? "other";
  for (const [name, value] of Object.entries({ class: "event-mark", "data-kind": kind, cx: x, cy: "12", r: kind === "proposal" || kind === "good" || kind === "bad" ? "4.5" : "3" })) {
    dot.setAttribute(name, value);
  }
  return dot;
}
