/**
 * The small parts that several views of a negotiation show the same way: names, terms, long texts, deadlines.
 *
 * @import { Child } from "../../lib/html.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Wanted, Writer } from "../negotiation-types.js"
 */

import { bar, element } from "../../lib/html.js";
import { textOf } from "../../ui/views/pieces.js";

const LONG_TEXT = 280; // characters, from where a text is folded away behind a button
const LONG_LINES = 6;
const SHOWN_TERMS = 12;
const KNOWN_TERMS = ["people", "date"]; // have a name in both languages; the price is shown elsewhere

/**
 * Capabilities are named like `event_planning`; people read `event planning`.
 *
 * @param {string} text
 * @returns {string}
 */
export function inWords(text) {
  return text.replace(/(?<=[a-z])_(?=[a-z])/g, " ");
}

/**
 * A capability in the reader's language where the demand itself is in that language.
 *
 * @param {string} name
 * @param {Wanted | null} wanted
 * @param {Translator} t
 * @returns {string}
 */
export function capabilityText(name, wanted, t) {
  const term = wanted?.language === t.language ? wanted.capabilities.find((each) => each.name === name)?.term : "";
  return term || inWords(name);
}

/**
 * @param {string} name
 * @returns {HTMLElement} its first letter in a circle; decoration
 */
export function avatar(name) {
  return element("span", { class: "avatar", "aria-hidden": "true" }, [...name.trim()][0]?.toUpperCase() ?? "?");
}

/**
 * A name with the id below it where they differ.
 *
 * @param {string} name
 * @param {string} id
 * @returns {HTMLElement}
 */
export function who(name, id) {
  const shown = textOf(name, 120);
  return element("span", { class: "who" }, element("b", { dir: "auto" }, shown || textOf(id, 120)), shown && name !== id && element("code", {}, textOf(id, 120)));
}

/**
 * @param {string[]} texts
 * @param {string} label for screen readers
 * @returns {HTMLElement | null} null for an empty list
 */
export function chips(texts, label) {
  if (!texts.length) return null;
  return element("ul", { class: "chips", "aria-label": label }, texts.slice(0, 40).map((text) => element("li", { class: "chip plain", dir: "auto" }, textOf(text, 200))));
}

/**
 * Who wrote a text: the rules or a language model; nothing is shown where an agent or a person did.
 *
 * @param {Writer} writer
 * @param {Translator} t
 * @returns {HTMLElement | null}
 */
export function marker(writer, t) {
  if (!writer) return null;
  return element("span", { class: "marker", dataset: { writer }, title: t.text(`writer.${writer}.detail`) }, t.text(`writer.${writer}`));
}

/**
 * A text of any length; a long one is cut to a few lines, with a button that shows all of it.
 *
 * @param {string} text
 * @param {Translator} t
 * @param {string} [className]
 * @returns {Child[]}
 */
export function longText(text, t, className = "said") {
  if (!text) return [];
  const paragraph = element("p", { class: className, dir: "auto" }, text);
  if (text.length <= LONG_TEXT && text.split("\n").length <= LONG_LINES) return [paragraph];
  paragraph.classList.add("clamped");
  const button = element("button", { type: "button", class: "link", "aria-expanded": "false" }, t.text("text.more"));
  button.addEventListener("click", () => {
    const isClamped = paragraph.classList.toggle("clamped");
    button.textContent = t.text(isClamped ? "text.more" : "text.less");
    button.setAttribute("aria-expanded", String(!isClamped));
  });
  return [paragraph, button];
}

/**
 * The terms of an offer or assignment besides its price, each a name and a value.
 *
 * @param {Record<string, any>} terms
 * @param {Translator} t
 * @returns {HTMLElement | null} null when there are none
 */
export function termList(terms, t) {
  const entries = Object.entries(terms).filter(([name, value]) => name !== "price" && name !== "currency" && value !== null && value !== "");
  if (!entries.length) return null;
  return element(
    "dl",
    { class: "terms" },
    entries.slice(0, SHOWN_TERMS).map(([name, value]) =>
      element(
        "div",
        {},
        element("dt", { dir: "auto" }, KNOWN_TERMS.includes(name) ? t.text(`terms.${name}`) : textOf(inWords(name), 80)),
        element("dd", { dir: "auto" }, name === "date" && typeof value === "string" ? t.day(value) : typeof value === "number" ? t.number(value) : textOf(value, 200)),
      ),
    ),
  );
}

/**
 * The end of a waiting: counting down while the reader looks at the present, the plain time otherwise.
 *
 * @param {number | null} deadline ms since 1970
 * @param {boolean} isLive
 * @param {Translator} t
 * @returns {HTMLElement | null}
 */
export function until(deadline, isLive, t) {
  if (deadline === null) return null;
  const at = new Date(deadline).toISOString();
  if (!isLive) return element("time", { class: "until", datetime: at, title: t.date(at) }, t.text("until.time", { time: t.clock(at) }));
  return element("span", { class: "until", role: "timer", title: t.date(at), dataset: { deadline } });
}

/**
 * How well an agent fits, as a bar and a number.
 *
 * @param {number} score
 * @param {number} best of all candidates
 * @param {Translator} t
 * @returns {HTMLElement}
 */
export function scoreOf(score, best, t) {
  const text = Math.abs(score) < 1000 ? score.toFixed(1) : score.toExponential(0);
  const label = t.text("payload.score", { score: text });
  return element(
    "span",
    { class: "score", title: label },
    bar(Math.abs(score) / (best || 1)),
    element("span", { class: "visually-hidden" }, label),
    element("span", { "aria-hidden": "true" }, text),
  );
}
