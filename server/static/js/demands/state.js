/**
 * What the page shows, folded from snapshots and events; pure, without a DOM or a clock.
 *
 * Snapshots, history pages and live events overlap in any order: an event counts once per list entry (by `last_seq`)
 * and once in its timeline (by `seq`). `feed.js` and `history.js` get the events.
 *
 * @import { Cursor, Demand, DemandPage, StoredEvent } from "../lib/types.js"
 *
 * @typedef {object} Timeline
 * @property {string} id the chosen demand
 * @property {StoredEvent[]} events ascending by seq, each once
 * @property {"loading" | "ready" | "failed" | "missing"} history whether everything before the live events is here
 * @property {string} error for people; empty unless `failed`
 * @property {number} trimmedBefore the oldest seq that the log still has, when earlier ones were trimmed; else 0
 *
 * @typedef {object} PageState
 * @property {"loading" | "ready" | "failed"} status of the snapshot
 * @property {string} error for people; empty unless `failed`
 * @property {string | null} epoch
 * @property {number} headSeq the newest seq that this state knows of
 * @property {Record<string, Demand>} demands by id
 * @property {string[]} order ids of the listed ones, newest first; sub-negotiations are shown inside their parent
 * @property {boolean} hasMore there are older demands
 * @property {number} oldestSeq `created_seq` where the list of pages ends; older ones may be in `demands` by choice
 * @property {Timeline | null} timeline of the chosen demand
 * @property {Record<string, Timeline>} branches histories of its sub-negotiations, at any depth, by demand id
 * @property {number | null} replaySeq the position that is looked at, inclusive; null: the newest
 * @property {string[]} seen ids that were chosen during this visit
 * @property {Cursor | null} lastVisit where the last visit to this log ended
 *
 * @typedef {{type: "snapshot", page: DemandPage, lastVisit?: Cursor | null, isReset?: boolean}
 *   | {type: "snapshot_failed", error: string}
 *   | {type: "older", page: DemandPage}
 *   | {type: "demand", demand: Demand}
 *   | {type: "event", event: StoredEvent}
 *   | {type: "choose", id: string | null}
 *   | {type: "branch", id: string}
 *   | {type: "replay", seq: number | null}
 *   | {type: "history", id: string, events: StoredEvent[], isComplete: boolean, trimmedBefore?: number}
 *   | {type: "history_failed", id: string, error: string, isMissing: boolean}} Action
 */

import { isAfter } from "../lib/cursor.js";
import { text } from "../lib/fields.js";
import { phaseAfter, statusOf } from "./phases.js";

/** Before the first snapshot. @type {PageState} */
export const EMPTY = Object.freeze({
  status: "loading",
  error: "",
  epoch: null,
  headSeq: 0,
  demands: {},
  order: [],
  hasMore: false,
  oldestSeq: 0,
  timeline: null,
  branches: {},
  replaySeq: null,
  seen: [],
  lastVisit: null,
});

/**
 * The state after an action. Never changes its arguments; returns the same object when nothing changed.
 *
 * @param {PageState} state
 * @param {Action} action
 * @returns {PageState}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "snapshot":
      return snapshot(state, action);
    case "snapshot_failed":
      return { ...state, status: "failed", error: action.error };
    case "older":
      return { ...withDemands(state, action.page.demands), ...ending(action.page, state.oldestSeq) };
    case "demand":
      return withDemands(state, [action.demand]);
    case "event":
      return withEvent(state, action.event);
    case "choose":
      return choose(state, action.id);
    case "branch":
      if (!state.timeline || action.id === state.timeline.id || state.branches[action.id]) return state;
      return { ...state, branches: { ...state.branches, [action.id]: emptyTimeline(action.id) } };
    case "replay":
      return action.seq === state.replaySeq ? state : { ...state, replaySeq: action.seq };
    case "history":
      return withTimeline(state, action.id, (timeline) => withPage(timeline, action));
    case "history_failed":
      return withTimeline(state, action.id, (timeline) => ({
        ...timeline,
        history: action.isMissing ? "missing" : "failed",
        error: action.error,
      }));
  }
}

/**
 * Insert an event in its place by seq; the same array when it is there already.
 *
 * @param {StoredEvent[]} events ascending by seq
 * @param {StoredEvent} event
 * @returns {StoredEvent[]}
 */
export function insert(events, event) {
  let low = 0;
  let high = events.length;
  if (!high || events[high - 1].seq < event.seq) return [...events, event];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].seq < event.seq) low = middle + 1;
    else high = middle;
  }
  return events[low].seq === event.seq ? events : [...events.slice(0, low), event, ...events.slice(low)];
}

/**
 * Merge two lists, both ascending by seq, each event once.
 *
 * @param {StoredEvent[]} left
 * @param {StoredEvent[]} right
 * @returns {StoredEvent[]}
 */
export function merge(left, right) {
  /** @type {StoredEvent[]} */
  const all = [];
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    const takesLeft = j >= right.length || (i < left.length && left[i].seq <= right[j].seq);
    const next = takesLeft ? left[i++] : right[j++];
    if (all.at(-1)?.seq !== next.seq) all.push(next);
  }
  return all;
}

/**
 * How many listed demands have something new since the last visit.
 *
 * @param {PageState} state
 * @returns {number}
 */
export function newSinceLastVisit(state) {
  return state.order.filter((id) => hasNews(state, id)).length;
}

/**
 * Whether a demand has something new that was not looked at during this visit.
 *
 * @param {PageState} state
 * @param {string} id of a listed demand
 * @returns {boolean}
 */
export function hasNews(state, id) {
  return isNew(state, state.demands[id].last_seq) && !state.seen.includes(id);
}

/**
 * Whether something happened after the last visit; false at the first one.
 *
 * @param {PageState} state
 * @param {number} seq
 * @returns {boolean}
 */
export function isNew(state, seq) {
  return state.lastVisit !== null && state.lastVisit.epoch === state.epoch && isAfter(String(seq), state.lastVisit.id);
}

/**
 * Another epoch, or a reset within one, forgets all that was shown; only the choice stays.
 *
 * @param {PageState} state
 * @param {Extract<Action, {type: "snapshot"}>} action
 * @returns {PageState}
 */
function snapshot(state, { page, lastVisit = null, isReset = false }) {
  const isSameLog = !isReset && (state.epoch === null || state.epoch === page.epoch);
  const { timeline } = state;
  const base = {
    ...EMPTY,
    demands: isSameLog ? chosenAndParents(state) : {},
    timeline: isSameLog ? timeline : timeline && emptyTimeline(timeline.id),
    branches: isSameLog ? state.branches : {},
    replaySeq: isSameLog ? state.replaySeq : null,
    seen: isSameLog ? state.seen : [],
    lastVisit: lastVisit ?? state.lastVisit,
  };
  return {
    ...withDemands(base, page.demands),
    ...ending(page, page.head_seq),
    status: "ready",
    epoch: page.epoch,
    headSeq: Math.max(isSameLog ? state.headSeq : 0, page.head_seq),
  };
}

/**
 * What is kept of the known demands when the list is read anew.
 *
 * @param {PageState} state
 * @returns {Record<string, Demand>}
 */
function chosenAndParents({ demands, timeline }) {
  /** @type {Record<string, Demand>} */
  const kept = {};
  for (let id = timeline?.id; id && demands[id] && !kept[id]; id = demands[id].parent_demand_id ?? undefined) kept[id] = demands[id];
  return kept;
}

/**
 * @param {DemandPage} page
 * @param {number} otherwise where the list ends when the page is empty
 */
function ending(page, otherwise) {
  return { hasMore: page.has_more, oldestSeq: page.demands.at(-1)?.created_seq ?? otherwise };
}

/**
 * @param {PageState} state
 * @param {Demand[]} added entries that are older than what is known are ignored
 * @returns {PageState}
 */
function withDemands(state, added) {
  const demands = { ...state.demands };
  for (const demand of added) {
    const known = demands[demand.demand_id];
    if (!known || known.last_seq <= demand.last_seq) demands[demand.demand_id] = demand;
  }
  const order = Object.keys(demands)
    .filter((id) => !demands[id].parent_demand_id)
    .sort((left, right) => demands[right].created_seq - demands[left].created_seq);
  return { ...state, demands, order };
}

/**
 * @param {PageState} state
 * @param {StoredEvent} event
 * @returns {PageState}
 */
function withEvent(state, event) {
  if (!event.stream.startsWith("demand:")) return state;
  const id = event.stream.slice("demand:".length);
  const added = (/** @type {Timeline} */ timeline) => ({ ...timeline, events: insert(timeline.events, event) });
  const next = withTimeline({ ...state, headSeq: Math.max(state.headSeq, event.seq) }, id, added);
  const known = next.demands[id];
  if (!known) return event.event_type === "towow.demand.understood" ? withDemands(next, [firstSummary(id, event)]) : next;
  if (event.seq <= known.last_seq) return next;
  const moved = phaseAfter(known.phase, event.event_type);
  const phase = moved ?? known.phase;
  const { round } = event.payload;
  const isProposal = moved !== undefined && event.event_type === "towow.proposal.distributed";
  const demand = {
    ...known,
    phase,
    status: statusOf(phase),
    current_round: isProposal && Number.isInteger(round) ? round : known.current_round,
    updated_at: event.timestamp,
    last_seq: event.seq,
  };
  return { ...next, demands: { ...next.demands, [id]: demand } };
}

/**
 * @param {string} id
 * @param {StoredEvent} event of type towow.demand.understood
 * @returns {Demand}
 */
function firstSummary(id, event) {
  const { payload, timestamp, seq } = event;
  return {
    demand_id: id,
    channel_id: String(payload.channel_id ?? ""),
    status: "processing",
    phase: "understood",
    surface_demand: String(payload.surface_demand ?? payload.raw_input ?? id),
    user_id: String(payload.user_id ?? "anonymous"),
    parent_demand_id: text(payload.parent_demand_id) || null,
    created_at: timestamp,
    updated_at: timestamp,
    current_round: 1,
    last_seq: seq,
    created_seq: seq,
  };
}

/**
 * @param {PageState} state
 * @param {string | null} id
 * @returns {PageState}
 */
function choose(state, id) {
  const base = { ...state, branches: {}, replaySeq: null };
  if (id === null) return { ...base, timeline: null };
  const timeline = state.branches[id] ?? emptyTimeline(id);
  return { ...base, timeline, seen: state.seen.includes(id) ? state.seen : [...state.seen, id] };
}

/**
 * @param {string} id
 * @returns {Timeline}
 */
function emptyTimeline(id) {
  return { id, events: [], history: "loading", error: "", trimmedBefore: 0 };
}

/**
 * Change the history of a demand where it is shown: as the chosen one, or as a branch; elsewhere nothing.
 *
 * @param {PageState} state
 * @param {string} id
 * @param {(timeline: Timeline) => Timeline} change
 * @returns {PageState}
 */
function withTimeline(state, id, change) {
  if (state.timeline?.id === id) return { ...state, timeline: change(state.timeline) };
  if (!Object.hasOwn(state.branches, id)) return state;
  return { ...state, branches: { ...state.branches, [id]: change(state.branches[id]) } };
}

/**
 * @param {Timeline} timeline
 * @param {Extract<Action, {type: "history"}>} page
 * @returns {Timeline}
 */
function withPage(timeline, { id, events, isComplete, trimmedBefore = 0 }) {
  return {
    id,
    events: merge(timeline.events, events),
    history: isComplete ? "ready" : "loading",
    error: "",
    trimmedBefore: trimmedBefore || timeline.trimmedBefore,
  };
}
