/**
 * What stands in the place of a run: nothing chosen yet, one that is being read, or why there is none.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { RequestError } from "../../lib/http.js";
import { element, refill } from "../../lib/html.js";
import { failureText } from "../../ui/failure-text.js";
import { byId } from "../../ui/views/static-texts.js";
import { waiting, problem } from "../../ui/views/pieces.js";

/**
 * @param {() => void} retry
 * @returns {{render: (shown: {runId: string, error: unknown, isShown: boolean}, t: Translator) => void}}
 */
export function noRunView(retry) {
  return {
    render({ runId, error, isShown }, t) {
      const status = error instanceof RequestError ? error.status : error ? -1 : null;
      const why = error ? failureText(error, t) : "";
      refill(byId("run-none"), JSON.stringify([t.language, isShown, runId, status, why]), () => {
        if (!isShown) return null;
        if (!runId) return empty(t.text("generations.none"), t.text("generations.none.detail"));
        if (status === null) return waiting(t.text("generations.loading"));
        if (status === 404 || status === 410 || status === 400) return empty(t.text("generations.missing", { id: runId }), t.text("generations.missing.detail"));
        if (status === 403) return element("p", { class: "problem", role: "alert" }, t.text("generations.refused"));
        return problem(t.text("generations.unread", { message: why }), retry, t);
      });
    },
  };
}

/**
 * @param {string} title
 * @param {string} detail
 */
function empty(title, detail) {
  return element("div", { class: "empty" }, element("h2", {}, title), element("p", {}, detail));
}
