/**
 * What the page follows: one run, and the list of all of them, each from its snapshot on.
 *
 * @import { StreamState } from "../lib/stream-options.js"
 * @import { PastRuns } from "./list-state.js"
 * @import { Run } from "./types.js"
 */

import { SnapshotFeed } from "../lib/snapshot-feed.js";
import { readRun, readRuns, runPath } from "./api.js";
import { foldRuns, LIST_EVENTS, NO_RUNS, withPage } from "./list-state.js";
import { foldRun, newRun, runEventOf, runOf } from "./state.js";

/**
 * One run, with its stream unless it has ended.
 *
 * @param {string} id
 * @param {object} handlers
 * @param {(run: Run) => void} handlers.onRun called after every change
 * @param {(error: unknown) => void} handlers.onFailed
 * @param {(state: StreamState) => void} handlers.onState
 * @returns {SnapshotFeed<any>}
 */
export function runFeed(id, { onRun, onFailed, onState }) {
  let run = newRun(id);
  const show = (/** @type {Run} */ next) => {
    run = next;
    onRun(run);
  };
  return new SnapshotFeed({
    read: () => readRun(id),
    onSnapshot(snapshot, isReset) {
      show(runOf(snapshot));
      return isReset || run.status === "running" ? { epoch: snapshot.epoch ?? null, id: String(snapshot.last_seq) } : null;
    },
    onFailed,
    refusals: [400, 403, 404, 410],
    stream: {
      streams: [`run:${id}`],
      path: `${runPath(id)}/events`,
      onEvent: (event) => show(foldRun(run, runEventOf(event))),
      onState,
    },
  });
}

/**
 * The newest runs, with one stream of what begins and ends.
 *
 * @param {object} handlers
 * @param {() => PastRuns} handlers.past what is shown
 * @param {(past: PastRuns) => void} handlers.onRuns
 * @param {(error: unknown) => void} handlers.onFailed
 * @param {(model: Record<string, any>) => void} handlers.onModel as the list has it
 * @param {(state: StreamState) => void} handlers.onState
 * @returns {SnapshotFeed<any>}
 */
export function pastFeed({ past, onRuns, onFailed, onModel, onState }) {
  return new SnapshotFeed({
    read: () => readRuns(),
    onSnapshot(page, isReset) {
      onRuns(withPage(isReset ? NO_RUNS : past(), page));
      onModel(page.model);
      return { epoch: page.epoch, id: String(page.head_seq) };
    },
    onFailed,
    stream: { streams: ["run:*"], types: LIST_EVENTS, onEvent: (event) => onRuns(foldRuns(past(), event)), onState },
  });
}
