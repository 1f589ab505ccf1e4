/**
 * The two ways to read the same history without this page: the raw events, and SQL.
 *
 * @import { Child } from "../../lib/html.js"
 * @import { Translator } from "../i18n.js"
 */

import { element, icon } from "../../lib/html.js";

const COPIED_MS = 1600;

/**
 * @param {{path: string, query: string, isOpen?: boolean}} source where the raw events are, the SQL, and whether it is shown
 * @param {Translator} t
 * @returns {Child[]}
 */
export function sources({ path, query, isOpen = false }, t) {
  return [
    element("a", { href: path, target: "_blank", rel: "noopener" }, t.text("sources.raw"), icon("open")),
    element(
      "details",
      { class: "sql", open: isOpen },
      element("summary", {}, t.text("sources.sql")),
      snippet(t.text("sources.sql.detail"), query, t),
      snippet(t.text("sources.sql.command"), `python run.py sql "${query}"`, t),
    ),
  ];
}

/**
 * A piece of code with what it is, and a button that copies it.
 *
 * @param {string} label
 * @param {string} code
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function snippet(label, code, t) {
  const status = element("span", { class: "visually-hidden", role: "status" });
  const copy = element("button", { type: "button", class: "small", "aria-label": `${t.text("sources.copy")}: ${label}` }, t.text("sources.copy"));
  copy.addEventListener("click", async () => {
    const isDone = await copyText(code);
    copy.textContent = t.text(isDone ? "sources.copied" : "sources.copy.failed");
    status.textContent = copy.textContent;
    window.setTimeout(() => {
      copy.textContent = t.text("sources.copy");
      status.textContent = "";
    }, COPIED_MS);
  });
  return element("div", { class: "code" }, element("p", {}, label), element("pre", { tabindex: 0, role: "region", "aria-label": label }, code), copy, status);
}

/**
 * @param {string} text
 * @returns {Promise<boolean>} false where the browser has no clipboard for this page, as over plain HTTP
 */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
