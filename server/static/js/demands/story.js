/**
 * The chosen demand and its sub-negotiations at any depth, as they were at the chosen position; pure but for a memory of
 * what was folded last.
 *
 * @import { StoredEvent } from "../lib/types.js"
 * @import { PageState, Timeline } from "./state.js"
 * @import { Negotiation } from "./negotiation-types.js"
 *
 * @typedef {object} Story
 * @property {Negotiation} negotiation
 * @property {Timeline["history"]} history of the events behind it
 * @property {string} error
 * @property {number} trimmedBefore
 * @property {Record<string, Story>} subnets those whose history is known, by demand id
 */

import { isDemandId } from "../lib/fields.js";
import { fold } from "./negotiation.js";
import { merge } from "./state.js";

/** Sub-negotiations whose histories are read for one page, at most: an appended flood of them stays a list of links. */
export const MAX_BRANCHES = 64;

/**
 * @returns {(state: PageState, seq?: number) => Story | null} the story at a seq (inclusive; default: everything); null
 *   while no demand is chosen
 */
export function storyteller() {
  /** @type {Map<string, {events: StoredEvent[], end: number, negotiation: Negotiation}>} */
  const memory = new Map();

  /**
   * @param {Timeline} timeline
   * @param {number} seq
   */
  const folded = ({ id, events }, seq) => {
    const end = seq >= (events.at(-1)?.seq ?? 0) ? Infinity : seq;
    const known = memory.get(id);
    if (known && known.events === events && known.end === end) return known.negotiation;
    const negotiation = fold(id, events, end);
    memory.set(id, { events, end, negotiation });
    return negotiation;
  };

  /**
   * @param {PageState} state
   * @param {Timeline} timeline
   * @param {number} seq
   * @returns {Story}
   */
  const tell = (state, timeline, seq) => {
    const negotiation = folded(timeline, seq);
    /** @type {Record<string, Story>} */
    const subnets = {};
    for (const { id } of negotiation.subnets) {
      const branch = state.branches[id];
      if (branch) subnets[id] = tell(state, branch, seq);
    }
    const { history, error, trimmedBefore } = timeline;
    return { negotiation, history, error, trimmedBefore, subnets };
  };
  return (state, seq = Infinity) => (state.timeline ? tell(state, state.timeline, seq) : null);
}

/**
 * Sub-negotiations of a story, at any depth, whose history is not requested yet.
 *
 * @param {PageState} state
 * @param {Story} story of the newest position
 * @returns {string[]} demand ids
 */
export function unreadBranches(state, story) {
  const room = MAX_BRANCHES - Object.keys(state.branches).length;
  /** @type {string[]} */
  const unread = [];
  const look = (/** @type {Story} */ { negotiation, subnets }) => {
    for (const { id } of negotiation.subnets) {
      if (subnets[id]) look(subnets[id]);
      else if (isDemandId(id)) unread.push(id);
    }
  };
  look(story);
  return unread.slice(0, Math.max(0, room));
}

/**
 * Everything that happened in the chosen demand and its sub-negotiations, by seq: the positions of the replay.
 *
 * @returns {(state: PageState) => StoredEvent[]} the same list while nothing was added
 */
export function chronicler() {
  /** @type {StoredEvent[][]} */
  let sources = [];
  /** @type {StoredEvent[]} */
  let all = [];
  return ({ timeline, branches }) => {
    const wanted = timeline ? [timeline.events, ...Object.values(branches).map(({ events }) => events)] : [];
    if (wanted.length !== sources.length || wanted.some((events, i) => events !== sources[i])) {
      sources = wanted;
      all = wanted.length ? wanted.reduce(merge) : [];
    }
    return all;
  };
}

/**
 * Where a seq is among ascending positions.
 *
 * @param {StoredEvent[]} positions
 * @param {number} seq
 * @returns {number} index of the last event at or before it; -1 when there is none
 */
export function indexAt(positions, seq) {
  let low = 0;
  let high = positions.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (positions[middle].seq <= seq) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
