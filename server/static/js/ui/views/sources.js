/**
 * The two ways to read the same history without this page: the raw events, and SQL.
 *
 * @import { Child } from "../html.js"
 * @import { Translator } from "../i18n.js"
 */

import { historyPath } from "../../demands/api.js";
import { element, icon } from "../html.js";

const COPIED_MS = 1600;

/**
 * @param {string} id of a demand; the address only lets ids through that need no quoting
 * @returns {string}
 */
export function timelineQuery(id) {
  return `SELECT seq, timestamp, what FROM negotiation_timeline WHERE demand_id = '${id}' ORDER BY seq`;
}

/**
 * @param {string} id
 * @param {boolean} isOpen whether the SQL is shown
 * @param {Translator} t
 * @returns {Child[]}
 */
export function sources(id, isOpen, t) {
  const query = timelineQuery(id);
  return [
    element("a", { href: historyPath(id), target: "_blank", rel: "noopener" }, t.text("detail.raw"), icon("open")),
    element(
      "details",
      { class: "sql", open: isOpen },
      element("summary", {}, t.text("detail.sql")),
      snippet(t.text("detail.sql.detail"), query, t),
      snippet(t.text("detail.sql.command"), `python run.py sql "${query}"`, t),
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
export function snippet(label, code, t) {
  const status = element("span", { class: "visually-hidden", role: "status" });
  const copy = element("button", { type: "button", class: "small", "aria-label": `${t.text("detail.copy")}: ${label}` }, t.text("detail.copy"));
  copy.addEventListener("click", async () => {
    const isDone = await copyText(code);
    copy.textContent = t.text(isDone ? "detail.copied" : "detail.copy.failed");
    status.textContent = copy.textContent;
    window.setTimeout(() => {
      copy.textContent = t.text("detail.copy");
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
