/**
 * Building the page from text that nobody trusts: elements are created, texts become text nodes, no markup is parsed.
 *
 * Attributes that run code are refused by name, links by scheme. There is no way through here to HTML from a string.
 *
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void) | Record<string, string | number>>} Attributes
 */

const FORBIDDEN = /^(on.*|style|srcdoc|innerhtml|outerhtml|formaction)$/i;
const LINKS = new Set(["href", "src", "action", "xlink:href"]);
const SAFE_LINK = /^(https?:\/\/|\/(?!\/)|#|\?|\.\/)/i;
const SVG = "http://www.w3.org/2000/svg";

/**
 * Create an element.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes] `true` sets an empty attribute; `false`, `null` and `undefined` set none; `dataset` is
 *   an object; a function named `onclick` and so on is a listener, never text
 * @param {...(Child | Child[])} children texts, numbers and nodes; empty ones are left out
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  setAttributes(node, attributes);
  append(node, children);
  return node;
}

/**
 * An icon from the page's own sprite; decoration only, hidden from assistive technology.
 *
 * @param {string} name id of a symbol in the page without `icon-`
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name.replace(/[^a-z-]/g, "")}`);
  svg.append(use);
  return svg;
}

/**
 * A small horizontal bar; decoration only, the value stands beside it.
 *
 * @param {number} fraction 0 to 1
 * @returns {SVGElement}
 */
export function bar(fraction) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "share");
  svg.setAttribute("aria-hidden", "true");
  const filled = Math.round(100 * Math.min(1, Math.max(0, fraction)));
  for (const width of [100, filled]) {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("width", `${width}%`);
    rect.setAttribute("height", "100%");
    rect.setAttribute("rx", "3");
    svg.append(rect);
  }
  return svg;
}

/**
 * Whether a link target cannot run code: http(s), or inside this site.
 *
 * @param {string} target
 * @returns {boolean}
 */
export function isSafeLink(target) {
  return SAFE_LINK.test(target);
}

/**
 * Replace what is inside an element.
 *
 * @param {Element} parent
 * @param {...(Child | Child[])} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/**
 * Write a text into an element unless it has it already, so that nothing is announced twice.
 *
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Replace what is inside an element only when `version` changed, so that focus, animations and announcements are left
 * alone otherwise.
 *
 * @param {HTMLElement} parent
 * @param {string} version of what is to be seen
 * @param {() => (Child | Child[])} build
 */
export function refill(parent, version, build) {
  if (parent.dataset.version === version) return;
  parent.dataset.version = version;
  fill(parent, build());
}

/**
 * @template Item
 * @typedef {object} Rows
 * @property {(item: Item) => string | number} key unique among the items
 * @property {(item: Item) => string} version changes when the row has to be built again
 * @property {(item: Item) => HTMLElement} build
 */

/**
 * Make the children of an element match the items, in order, touching only rows that changed.
 *
 * Rows that stay keep their focus, selection and open details.
 *
 * @template Item
 * @param {Element} parent holds nothing but these rows
 * @param {Item[]} items
 * @param {Rows<Item>} rows
 */
export function reconcile(parent, items, { key, version, build }) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  for (const child of /** @type {Iterable<HTMLElement>} */ (parent.children)) old.set(child.dataset.key ?? "", child);
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    const wanted = version(item);
    let row = old.get(name);
    let focused = -1;
    if (row && row.dataset.version !== wanted) {
      focused = focusIn(row);
      if (row === place) place = place.nextElementSibling;
      row.remove();
      row = undefined;
    }
    old.delete(name);
    if (!row) {
      row = build(item);
      row.dataset.key = name;
      row.dataset.version = wanted;
    }
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
    if (focused >= 0) focusable(row)[focused]?.focus({ preventScroll: true });
  }
  for (const row of old.values()) row.remove();
}

/**
 * @param {HTMLElement} row
 * @returns {HTMLElement[]}
 */
function focusable(row) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (row.querySelectorAll("a, button, summary, input"))];
}

/**
 * Which of a row's focusable elements has the focus, so that the row's successor can take it over; -1 for none.
 *
 * @param {HTMLElement} row
 * @returns {number}
 */
function focusIn(row) {
  const active = row.ownerDocument?.activeElement;
  return active && row.contains(active) ? focusable(row).indexOf(/** @type {HTMLElement} */ (active)) : -1;
}

/**
 * @param {Element} node
 * @param {Attributes} attributes
 */
function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") {
      node.addEventListener(name.replace(/^on/, ""), value);
    } else if (FORBIDDEN.test(name)) {
      throw new TypeError(`attribute ${name} is not allowed`);
    } else if (typeof value === "object") {
      for (const [key, text] of Object.entries(value)) /** @type {HTMLElement} */ (node).dataset[key] = String(text);
    } else if (LINKS.has(name) && !isSafeLink(String(value))) {
      throw new TypeError(`${name} must be http(s) or inside this site`);
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

/**
 * @param {Element} node
 * @param {(Child | Child[])[]} children
 */
function append(node, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false || child === "") continue;
    node.append(typeof child === "object" ? child : document.createTextNode(String(child)));
  }
}
