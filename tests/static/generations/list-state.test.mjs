/** The promises of js/generations/list-state.js: a list of runs from pages and events, newest first, each once. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { foldRuns, latestOf, newestFirst, NO_RUNS, withPage } from "../../../server/static/js/generations/list-state.js";

const row = (number, more = {}) => ({ run_id: `r-${number}`, status: "running", mode: "nova", prompt: `p${number}`, session_id: "s", created_at: "2026-01-01T00:00:00.000Z", created_seq: number, last_seq: number, ...more });
const event = (id, seq, event_type, payload = {}) => ({ stream: `run:${id}`, seq, event_type, payload, timestamp: "2026-01-01T00:00:00.000Z", source: "x" });
const ids = (past) => newestFirst(past).map(({ id }) => id);

test("pages are put together, newest first, and an older one does not undo what events said", () => {
  let past = withPage(NO_RUNS, { runs: [row(9), row(7)], has_more: true });
  assert.deepEqual([ids(past), past.hasMore, past.oldestSeq], [["r-9", "r-7"], true, 7]);
  past = foldRuns(past, event("r-7", 12, "run_complete", { result: "x" }));
  past = withPage(past, { runs: [row(7), row(3)], has_more: false });
  assert.deepEqual([ids(past), past.hasMore, past.oldestSeq], [["r-9", "r-7", "r-3"], false, 3]);
  assert.equal(past.runs.get("r-7").status, "completed");
});

test("a run that begins is on top, one that was never properly started is not in it, and one too old stays out", () => {
  const past = withPage(NO_RUNS, { runs: [row(9)], has_more: true });
  const begun = foldRuns(past, event("r-x", 11, "run_started", { mode: "loomi", prompt: "new" }));
  assert.deepEqual(ids(begun), ["r-x", "r-9"]);
  assert.equal(foldRuns(past, event("r-y", 12, "run_started", { prompt: "no mode" })), past);
  assert.equal(foldRuns(past, event("r-old", 13, "run_complete", { result: "x" })), past);
  assert.equal(foldRuns(past, event("r-9", 8, "run_failed", {})), past);
  assert.deepEqual(ids(foldRuns(past, event("__proto__", 14, "run_started", { mode: "nova", prompt: "p" }))), ["__proto__", "r-9"]);
});

test("the run to go on from is the latest completed one of the session", () => {
  const rows = [row(9, { status: "failed" }), row(8, { status: "completed", session_id: "other" }), row(7, { status: "completed" }), row(6, { status: "completed" })];
  const past = withPage(NO_RUNS, { runs: rows, has_more: false });
  assert.equal(latestOf(past, "s")?.id, "r-7");
  assert.equal(latestOf(past, "none"), null);
});
