/**
 * A text that is being written, line by line: what is added is appended, and a line that is whole is dressed once.
 *
 * Models write a little Markdown. Headings, points and bold words look like what they are; everything else, markup of any kind
 * included, is shown as it came.
 *
 * @import { GrowingText } from "../growing-text.js"
 * @import { Child } from "../../lib/html.js"
 */

import { NO_TEXT } from "../growing-text.js";
import { element, fill } from "../../lib/html.js";

const HEADING = /^#{1,6} +(\S.*)$/;
const POINT = /^ *[-*•] +(\S.*)$/;
const LONGEST_DRESSED = 2000; // characters of a line; what is longer is no prose

/**
 * @param {HTMLElement} container holds nothing but the text
 * @returns {(text: GrowingText, isWhole: boolean) => boolean} shows the text; whether anything changed
 */
export function proseIn(container) {
  let shown = NO_TEXT;
  let isDressed = false;
  /** @type {HTMLElement | null} */
  let last = null;

  return (text, isWhole) => {
    let added = text.since(shown);
    const beginsAgain = !text.continues(shown) || (isDressed && added !== "");
    if (!beginsAgain && !added && isDressed === isWhole) return false;
    if (beginsAgain) {
      container.replaceChildren();
      last = null;
      added = text.toString();
    }
    shown = text;
    isDressed = isWhole;
    const [rest, ...lines] = added.split("\n");
    const begin = (/** @type {string} */ line) => {
      if (last) dress(last);
      last = element("p", { class: "line" }, line);
      container.append(last);
    };
    if (last && rest) /** @type {HTMLElement} */ (last).append(rest);
    else if (rest) begin(rest);
    lines.forEach(begin);
    if (isWhole && last) dress(last);
    return true;
  };
}

/** @param {HTMLElement} line its whole text, as it came */
function dress(line) {
  line.normalize();
  const raw = line.textContent ?? "";
  const heading = HEADING.exec(raw);
  const point = POINT.exec(raw);
  line.className = heading ? "line title" : point ? "line point" : raw.trim() ? "line" : "line gap";
  const isMarked = heading || point || raw.includes("**");
  if (isMarked && raw.length <= LONGEST_DRESSED) fill(line, inBold(heading?.[1] ?? point?.[1] ?? raw));
}

/**
 * @param {string} text
 * @returns {Child[]} with what stands between two pairs of stars in bold
 */
function inBold(text) {
  return text.split(/\*\*(\S(?:.*?\S)?)\*\*/).map((part, i) => (i % 2 ? element("strong", {}, part) : part));
}
