/**
 * The list of runs: a snapshot, older pages, and what begins and ends meanwhile; a pure fold.
 *
 * @import { Run } from "./types.js"
 */

import { foldRun, newRun, runEventOf, runOf } from "./state.js";

/** The events that change what the list shows. */
export const LIST_EVENTS = ["run_started", "run_complete", "run_failed"];

/**
 * @typedef {object} PastRuns
 * @property {Map<string, Run>} runs without texts, by id
 * @property {boolean} hasMore older ones
 * @property {number | undefined} oldestSeq where the older ones begin
 */

/** @type {PastRuns} */
export const NO_RUNS = { runs: new Map(), hasMore: false, oldestSeq: undefined };

/**
 * The list with a page of it, the newest or an older one.
 *
 * @param {PastRuns} past
 * @param {{runs: Record<string, any>[], has_more: boolean}} page
 * @returns {PastRuns}
 */
export function withPage(past, page) {
  const read = page.runs.map(runOf);
  const runs = new Map(past.runs);
  for (const run of read) if ((runs.get(run.id)?.lastSeq ?? 0) <= run.lastSeq) runs.set(run.id, run);
  return { runs, hasMore: page.has_more, oldestSeq: read.at(-1)?.createdSeq ?? past.oldestSeq };
}

/**
 * The list after an event of any run, in the shape of the log.
 *
 * @param {PastRuns} past
 * @param {Record<string, any> & {stream: string, seq: number}} event
 * @returns {PastRuns}
 */
export function foldRuns(past, event) {
  const id = event.stream.slice("run:".length);
  const known = past.runs.get(id) ?? newRun(id);
  const run = foldRun(known, runEventOf(event));
  // One that is older than the list, or was never properly started, stays out of it.
  return run.status === "new" || run === known ? past : { ...past, runs: new Map(past.runs).set(id, run) };
}

/**
 * @param {PastRuns} past
 * @returns {Run[]} newest first
 */
export function newestFirst({ runs }) {
  return [...runs.values()].sort((one, two) => two.createdSeq - one.createdSeq);
}

/**
 * The run that the next one of a session goes on from: its latest finished one.
 *
 * @param {PastRuns} past
 * @param {string} sessionId
 * @returns {Run | null}
 */
export function latestOf(past, sessionId) {
  return newestFirst(past).find((run) => run.sessionId === sessionId && run.status === "completed") ?? null;
}
