/**
 * How far the sample task is that this page sends.
 *
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Sampling } from "../sampling.js"
 */

import { failureText } from "../../ui/failure-text.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * @param {Sampling} sampling
 * @param {Translator} t
 */
export function renderSampling({ state, taskId, error }, t) {
  const { isRunning, isStuck, sent, total } = state;
  const line = byId("sample-state");
  const said = () => (isStuck ? t.text("sample.stuck", { id: taskId, sent, total }) : t.text("sample.sending", { id: taskId, sent, total }));
  line.textContent = error ? t.text("sample.failed", { message: failureText(error, t) }) : taskId ? said() : "";
  line.dataset.look = error ? "bad" : isStuck ? "stuck" : "";
  byId("sample").hidden = isRunning;
  byId("sample-stop").hidden = !isRunning;
}
