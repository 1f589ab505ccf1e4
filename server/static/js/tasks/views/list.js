/**
 * The tasks to choose from, newest first.
 *
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Task } from "../state.js"
 */

import { count, number, text } from "../../lib/fields.js";
import { bar, element, fill, reconcile } from "../../lib/html.js";
import { TASK_ID } from "../state.js";
import { textOf } from "../../ui/views/pieces.js";
import { byId } from "../../ui/views/static-texts.js";

const STATUSES = ["running", "completed", "failed", "cancelled"];

/**
 * @typedef {object} Tasks
 * @property {Record<string, any>[]} list as the server sends them
 * @property {boolean} hasMore
 * @property {"loading" | "ready" | "failed"} status
 * @property {string} error
 */

/**
 * The list with a task as the page knows it; the list's own word on it may be older.
 *
 * @param {Tasks} tasks
 * @param {string} taskId
 * @param {Task} task
 * @returns {Tasks}
 */
export function tasksWith(tasks, taskId, { status, phase, progress, events }) {
  const list = tasks.list.map((each) => (each.task_id === taskId && events >= count(each.events) ? { ...each, status, phase, progress, events } : each));
  return { ...tasks, list };
}

/**
 * @param {string} status
 * @param {Translator} t
 * @returns {HTMLElement} it in words; as it came when it is none
 */
export function statusBadge(status, t) {
  const known = STATUSES.includes(status);
  return element("span", { class: "badge", dataset: { task: known ? status : "unknown" }, dir: "auto" }, known ? t.text(`task.status.${status}`) : textOf(status, 40));
}

/**
 * @param {Tasks} tasks
 * @param {string} chosen id
 * @param {Translator} t
 */
export function renderTaskList({ list, hasMore, status, error }, chosen, t) {
  const shown = list.filter(({ task_id }) => TASK_ID.test(text(task_id)));
  reconcile(byId("task-list"), shown, {
    key: ({ task_id }) => task_id,
    version: (task) => [t.language, task.task_id === chosen, task.status, task.phase, task.progress].join(),
    build: (task) => row(task, task.task_id === chosen, t),
  });
  const isEmpty = status === "ready" && shown.length === 0;
  fill(
    byId("tasks-state"),
    status === "loading" && shown.length === 0 && element("p", { class: "muted small-text" }, t.text("tasks.loading")),
    status === "failed" && element("p", { class: "problem" }, t.text("tasks.failed", { message: error })),
    isEmpty && element("p", { class: "muted nothing" }, t.text("tasks.empty")),
    hasMore && element("p", { class: "muted small-text" }, t.text("tasks.more")),
  );
}

/**
 * @param {Record<string, any>} task
 * @param {boolean} isChosen
 * @param {Translator} t
 */
function row({ task_id, status, phase, progress }, isChosen, t) {
  const percent = number(progress) ?? 0;
  return element(
    "li",
    {},
    element(
      "a",
      { class: "demand", href: `#${task_id}`, "aria-current": isChosen ? "true" : null },
      element("span", { class: "what" }, textOf(task_id)),
      element(
        "span",
        { class: "facts" },
        statusBadge(text(status), t),
        text(phase) && element("span", { dir: "auto" }, textOf(phase, 60)),
        element("span", { class: "score" }, bar(percent / 100), t.text("task.percent", { percent: Math.floor(percent) })),
      ),
    ),
  );
}
