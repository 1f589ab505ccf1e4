/**
 * Where a task stands: its status, how far it is, the phases that it has gone through, and its counts.
 *
 * @import { Task } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, refill, setText } from "../../lib/html.js";
import { isOver } from "../state.js";
import { textOf } from "../../ui/views/pieces.js";
import { byId } from "../../ui/views/static-texts.js";
import { statusBadge } from "./list.js";

/**
 * @param {string} taskId
 * @param {Task} task
 * @param {Translator} t
 */
export function renderTaskHead(taskId, task, t) {
  const { status, progress, phases, events, createdAt, updatedAt } = task;
  const percent = Math.floor(progress);
  setText(byId("task-title"), taskId);
  refill(byId("task-status"), `${t.language} ${status}`, () => statusBadge(status, t));
  const progressBar = byId("task-bar");
  progressBar.value = progress;
  progressBar.dataset.task = status;
  setText(byId("task-percent"), t.text("task.percent", { percent }));
  const last = phases.length - 1;
  refill(byId("task-phases"), `${phases.join()} ${isOver(task)}`, () =>
    phases.map((phase, i) => element("li", { "aria-current": i === last && !isOver(task) ? "step" : null, dir: "auto" }, textOf(phase, 80))),
  );
  byId("task-phases").hidden = phases.length === 0;
  refill(byId("task-facts"), `${t.language} ${events} ${updatedAt}`, () => [
    element("span", {}, t.count("task.events", events)),
    createdAt && element("time", { datetime: createdAt, title: t.date(createdAt) }, t.text("task.began", { time: t.clock(createdAt) })),
    updatedAt && element("time", { datetime: updatedAt, title: t.date(updatedAt) }, t.text("task.updated", { time: t.clock(updatedAt) })),
  ]);
}
