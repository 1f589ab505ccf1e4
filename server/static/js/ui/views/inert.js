/**
 * Texts of others where a person decides by them: each isolated from what stands around it, with everything in it made visible.
 */

import { element } from "../../lib/html.js";
import { piecesOf } from "../../lib/inert-text.js";

/**
 * A text as it is, and what could deceive in it as marks that say what stands there.
 *
 * @param {string} text
 * @returns {HTMLElement}
 */
export function inert(text) {
  return element(
    "bdi",
    { class: "inert" },
    piecesOf(text).map(({ text: piece, kind, label }) => (kind === "plain" ? piece : element("span", { class: "mark", dataset: { kind }, title: label }, kind === "odd" ? `${piece}[${label}]` : `[${label}]`))),
  );
}
