/**
 * The list of demands, from its snapshot on, and every event of all of them on one stream.
 *
 * @import { StreamState } from "../lib/stream-options.js"
 * @import { DemandPage } from "../lib/types.js"
 * @import { Action } from "./state.js"
 */

import { loadCursor, selectionKey } from "../lib/cursor.js";
import { SnapshotFeed } from "../lib/snapshot-feed.js";
import { readDemands } from "./api.js";

const STREAMS = ["demand:*"];

/**
 * @param {Storage | null} storage keeps where each visit ended
 * @param {object} host
 * @param {(action: Action) => void} host.dispatch
 * @param {(error: unknown) => string} host.describe
 * @param {() => void} host.onReset the list was read again, because the log cannot be continued
 * @param {(state: StreamState) => void} host.onState
 * @returns {SnapshotFeed<DemandPage>}
 */
export function demandsFeed(storage, { dispatch, describe, onReset, onState }) {
  const lastVisit = loadCursor(storage, selectionKey(STREAMS)); // before this visit moves it
  return new SnapshotFeed({
    read: () => readDemands(),
    onSnapshot(page, isReset) {
      dispatch({ type: "snapshot", page, ...(isReset ? { isReset } : { lastVisit }) });
      if (isReset) onReset();
      return { epoch: page.epoch, id: String(page.head_seq) };
    },
    onFailed: (error) => dispatch({ type: "snapshot_failed", error: describe(error) }),
    stream: {
      streams: STREAMS,
      environment: {},
      onEvent: (event) => dispatch({ type: "event", event }),
      onState,
      onHandlerError: (error) => console.warn(error),
    },
  });
}
