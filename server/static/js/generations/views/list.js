/**
 * The list of runs, newest first, each a link that shows it; loading, empty and error states included.
 *
 * @import { PastRuns } from "../list-state.js"
 * @import { Run } from "../types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, reconcile, refill } from "../../lib/html.js";
import { newestFirst } from "../list-state.js";
import { empty, problem, textOf, waiting } from "../../ui/views/pieces.js";
import { runBadge } from "./run.js";
import { byId } from "../../ui/views/static-texts.js";

const CLOCK_MS = 10_000; // how often "3 minutes ago" is looked at again

/**
 * @typedef {object} ShownPast
 * @property {PastRuns} past
 * @property {"loading" | "ready" | "failed" | "forbidden"} status
 * @property {string} error
 * @property {string} chosen id
 */

/**
 * @param {{retry: () => void, older: () => Promise<void>}} actions
 * @returns {{render: (shown: ShownPast, t: Translator, now: number) => void}}
 */
export function pastView({ retry, older }) {
  const more = byId("past-older");
  more.addEventListener("click", async () => {
    more.disabled = true;
    await older();
    more.disabled = false;
  });

  /** What is shown, so that a text that streams beside it costs the list nothing. @type {PastRuns | null} */
  let shown = null;
  let version = "";

  return {
    render({ past, status, error, chosen }, t, now) {
      const wanted = JSON.stringify([t.language, status, error, chosen, Math.floor(now / CLOCK_MS)]);
      if (past === shown && wanted === version) return;
      shown = past;
      version = wanted;
      const runs = newestFirst(past);
      reconcile(byId("past-list"), runs, {
        key: ({ id }) => id,
        version: (run) => JSON.stringify([t.language, run.status, run.partial, run.id === chosen, t.ago(run.createdAt, now)]),
        build: (run) => row(run, run.id === chosen, t, now),
      });
      more.hidden = !past.hasMore;
      refill(byId("past-state"), JSON.stringify([t.language, status, error, runs.length === 0]), () => {
        if (status === "forbidden") return element("p", { class: "muted small-text" }, t.text("generations.history.forbidden"));
        if (status === "failed" && !runs.length) {
          return problem(t.text("generations.history.failed", { message: error }), retry, t);
        }
        if (runs.length) return null;
        if (status !== "ready") return waiting(t.text("generations.history.loading"));
        return empty(t.text("generations.history.empty"), t.text("generations.history.empty.detail"));
      });
    },
  };
}

/**
 * @param {Run} run
 * @param {boolean} isChosen
 * @param {Translator} t
 * @param {number} now
 */
function row(run, isChosen, t, now) {
  return element(
    "li",
    { dataset: { run: run.id } },
    element(
      "a",
      { class: "demand", href: `#${run.id}`, "aria-current": isChosen ? "true" : false },
      element("span", { class: "what", dir: "auto" }, textOf(run.prompt, 300)),
      element("span", { class: "facts" }, runBadge(run, t), element("span", {}, t.text(`generations.mode.${run.mode}`)), element("time", { datetime: run.createdAt, title: t.date(run.createdAt) }, t.ago(run.createdAt, now))),
    ),
  );
}
