/**
 * The two ways to read a task without this page: the raw events, and SQL.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, icon, refill } from "../../ui/html.js";
import { rawPath } from "../api.js";
import { snippet } from "../../ui/views/sources.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * @param {string} taskId needs no quoting
 * @returns {string}
 */
export function timelineQuery(taskId) {
  return `SELECT seq, revision, event_type, phase, span_id, progress FROM task_timeline WHERE task_id = '${taskId}' ORDER BY seq`;
}

/**
 * @param {string} taskId
 * @param {Translator} t
 */
export function renderTaskSources(taskId, t) {
  refill(byId("task-sources"), `${t.language} ${taskId}`, () => {
    const query = timelineQuery(taskId);
    return [
      element("a", { href: rawPath(taskId), target: "_blank", rel: "noopener" }, t.text("detail.raw"), icon("open")),
      element(
        "details",
        { class: "sql" },
        element("summary", {}, t.text("detail.sql")),
        snippet(t.text("detail.sql.detail"), query, t),
        snippet(t.text("detail.sql.command"), `python run.py sql "${query}"`, t),
      ),
    ];
  });
}
