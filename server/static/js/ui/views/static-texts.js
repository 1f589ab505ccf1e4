/**
 * The texts that stand in the page itself: filled in again whenever the language changes.
 *
 * @import { Translator } from "../i18n.js"
 */

/**
 * Put the language's texts where `data-text`, `data-placeholder` and `data-label` (aria-label and tooltip) ask for them.
 *
 * @param {Translator} t
 */
export function renderStaticTexts(t) {
  document.documentElement.lang = t.language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text], [data-placeholder], [data-label]")) {
    const { text, placeholder, label } = /** @type {HTMLElement} */ (node).dataset;
    if (text) node.textContent = t.text(text);
    if (placeholder) node.setAttribute("placeholder", t.text(placeholder));
    if (label) {
      node.setAttribute("aria-label", t.text(label));
      node.setAttribute("title", t.text(label));
    }
  }
}

/**
 * An element of the page, which must be there.
 *
 * @param {string} id
 * @returns {any} typed by its use
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}
