/**
 * The work items of a task by span_id: what runs first, what is done last, a bounded number of them.
 *
 * @import { Task, WorkItem } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, fill, reconcile } from "../../lib/html.js";
import { isOver, orderedItems } from "../state.js";
import { byId } from "../../ui/views/static-texts.js";

const SHOWN = 60; // items

/**
 * @param {Task} task
 * @param {Translator} t
 */
export function renderTaskItems(task, t) {
  const { counts, items } = task;
  const shown = orderedItems(task).slice(0, SHOWN);
  reconcile(byId("item-list"), shown, {
    key: ({ spanId }) => spanId,
    version: ({ order }) => `${t.language} ${order}`,
    build: (item) => row(item, t),
  });
  byId("item-list").dataset.over = String(isOver(task));
  byId("items-count").textContent = items.size ? t.text("items.count", { ...counts, total: items.size }) : "";
  const more = items.size - shown.length;
  fill(
    byId("items-state"),
    items.size === 0 && element("p", { class: "muted nothing" }, t.text("items.empty")),
    more > 0 && element("p", { class: "muted small-text" }, t.count("items.more", more)),
  );
}

/**
 * @param {WorkItem} item
 * @param {Translator} t
 */
function row({ spanId, status, name, startedAt, endedAt }, t) {
  return element(
    "li",
    { class: "work-item", dataset: { span: spanId, status } },
    element("span", { class: "work-mark", "aria-hidden": "true" }),
    element("span", { class: "who" }, element("b", { dir: "auto" }, name || spanId), name && name !== spanId && element("code", {}, spanId)),
    element("span", { class: "badge", dataset: { item: status } }, t.text(`item.status.${status}`)),
    element("span", { class: "work-time" }, time(startedAt, endedAt, t)),
  );
}

/**
 * @param {string} startedAt
 * @param {string} endedAt
 * @param {Translator} t
 * @returns {string} how long it took, or since when it runs
 */
function time(startedAt, endedAt, t) {
  const took = Date.parse(endedAt) - Date.parse(startedAt);
  if (took >= 0) return t.span(took);
  return startedAt || endedAt ? t.text("item.since", { time: t.clock(startedAt || endedAt) }) : "";
}
