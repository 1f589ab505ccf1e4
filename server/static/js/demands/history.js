/**
 * Reading histories: of the chosen demand, of its sub-negotiations as they are shown, and the names of those above it.
 *
 * Live events that arrive meanwhile are merged by seq in `state.js`; nothing here keeps a state of its own.
 *
 * @import { Action, PageState } from "./state.js"
 */

import { readDemand, readHistory, RequestError } from "./api.js";

const MOST_PARENTS = 8;

/**
 * @param {object} host
 * @param {() => PageState} host.state
 * @param {(action: Action) => void} host.dispatch
 * @param {(error: unknown) => string} host.describe
 */
export function historyReader({ state, dispatch, describe }) {
  /** Read a whole history page by page, as long as it is shown. @param {string} id */
  const read = async (id) => {
    const isShown = () => state().timeline?.id === id || Object.hasOwn(state().branches, id);
    let cursor = "0";
    let trimmedBefore = 0;
    dispatch({ type: "history", id, events: [], isComplete: false });
    try {
      for (let hasMore = true; hasMore && isShown(); ) {
        try {
          const page = await readHistory(id, cursor);
          const { epoch } = state();
          // Of another log than the list: the stream is about to be reset, which brings both to the same.
          if (epoch && page.epoch !== epoch) return;
          hasMore = page.has_more;
          cursor = page.next_cursor;
          dispatch({ type: "history", id, events: page.events, isComplete: !hasMore, trimmedBefore });
        } catch (error) {
          if (!(error instanceof RequestError) || error.status !== 410 || trimmedBefore) throw error;
          trimmedBefore = error.details?.oldest_seq ?? 1;
          cursor = String(trimmedBefore - 1);
        }
      }
    } catch (error) {
      dispatch({ type: "history_failed", id, error: describe(error), isMissing: false });
    }
  };

  return {
    /** The chosen demand with its summary, and the summaries of those it was started by. @param {string} id */
    async readChosen(id) {
      try {
        if (!state().demands[id]) dispatch({ type: "demand", demand: await readDemand(id) });
      } catch (error) {
        const isMissing = error instanceof RequestError && error.status === 404;
        dispatch({ type: "history_failed", id, error: describe(error), isMissing });
        return;
      }
      void this.readParents(id);
      await read(id);
    },

    /** @param {string} id of a sub-negotiation */
    readBranch: read,

    /** @param {string} id */
    async readParents(id) {
      let parent = state().demands[id]?.parent_demand_id;
      try {
        for (let step = 0; parent && step < MOST_PARENTS; step += 1) {
          if (!state().demands[parent]) dispatch({ type: "demand", demand: await readDemand(parent) });
          parent = state().demands[parent]?.parent_demand_id;
        }
      } catch {
        // Without its name a parent is shown by its id.
      }
    },
  };
}
