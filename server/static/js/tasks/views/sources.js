/** The two ways to read a task without this page: the raw events, and SQL. @import { Translator } from "../../ui/i18n.js" */

import { refill } from "../../lib/html.js";
import { rawPath } from "../api.js";
import { sources } from "../../ui/views/sources.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * @param {string} taskId needs no quoting
 * @param {Translator} t
 */
export function renderTaskSources(taskId, t) {
  const query = `SELECT seq, revision, event_type, phase, span_id, progress FROM task_timeline WHERE task_id = '${taskId}' ORDER BY seq`;
  refill(byId("task-sources"), `${t.language} ${taskId}`, () => sources({ path: rawPath(taskId), query }, t));
}
