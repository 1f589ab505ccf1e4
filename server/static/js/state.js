/**
 * What the page shows, folded from snapshots and events; pure, without a DOM or a clock.
 *
 * Snapshots, history pages and live events overlap in any order: an event counts once per list entry (by `last_seq`)
 * and once in the timeline (by `seq`). Getting the events is `app.js`, keeping the connection is `stream.js`.
 *
 * @import { Cursor, Demand, DemandPage, StoredEvent } from "./types.js"
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
 * @property {string[]} order ids, newest first
 * @property {boolean} hasMore older demands can be asked for
 * @property {number} oldestSeq `created_seq` where the list of pages ends; older ones may be in `demands` by choice
 * @property {Timeline | null} timeline of the chosen demand
 * @property {string[]} seen ids that were chosen during this visit
 * @property {Cursor | null} lastVisit where the last visit to this log ended
 *
 * @typedef {{type: "snapshot", page: DemandPage, lastVisit?: Cursor | null, isReset?: boolean}
 *   | {type: "snapshot_failed", error: string}
 *   | {type: "older", page: DemandPage}
 *   | {type: "demand", demand: Demand}
 *   | {type: "event", event: StoredEvent}
 *   | {type: "choose", id: string | null}
 *   | {type: "history", id: string, events: StoredEvent[], isComplete: boolean, trimmedBefore?: number}
 *   | {type: "history_failed", id: string, error: string, isMissing: boolean}} Action
 */

/** How events move a demand on: the status and phase after each type. Types that are not here change neither. */
export const PROGRESS = /** @type {Record<string, {phase: string, status: string}>} */ ({
  "towow.demand.understood": { phase: "understood", status: "processing" },
  "towow.filter.completed": { phase: "filtered", status: "processing" },
  "towow.demand.broadcast": { phase: "broadcast", status: "processing" },
  "towow.offer.submitted": { phase: "offering", status: "processing" },
  "towow.proposal.distributed": { phase: "proposed", status: "processing" },
  "towow.proposal.finalized": { phase: "finalized", status: "finalized" },
  "towow.negotiation.failed": { phase: "failed", status: "failed" },
  "towow.negotiation.cancelled": { phase: "cancelled", status: "cancelled" },
});

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
    case "history":
      return withHistory(state, action);
    case "history_failed":
      if (state.timeline?.id !== action.id) return state;
      return { ...state, timeline: { ...state.timeline, history: action.isMissing ? "missing" : "failed", error: action.error } };
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
  return state.lastVisit !== null && state.lastVisit.epoch === state.epoch && seq > state.lastVisit.seq;
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
  const chosen = timeline && isSameLog ? state.demands[timeline.id] : undefined;
  const base = {
    ...EMPTY,
    demands: chosen ? { [chosen.demand_id]: chosen } : {},
    timeline: isSameLog ? timeline : timeline && emptyTimeline(timeline.id),
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
  const order = Object.keys(demands).sort((left, right) => demands[right].created_seq - demands[left].created_seq);
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
  const next = { ...state, headSeq: Math.max(state.headSeq, event.seq) };
  if (next.timeline?.id === id) next.timeline = { ...next.timeline, events: insert(next.timeline.events, event) };
  const known = next.demands[id];
  if (!known) return event.event_type === "towow.demand.understood" ? withDemands(next, [firstSummary(id, event)]) : next;
  if (event.seq <= known.last_seq) return next;
  const progress = PROGRESS[event.event_type];
  const { round } = event.payload;
  next.demands = {
    ...next.demands,
    [id]: {
      ...known,
      ...progress,
      current_round: Number.isInteger(round) ? round : known.current_round,
      updated_at: event.timestamp,
      last_seq: event.seq,
    },
  };
  return next;
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
  if (id === null) return { ...state, timeline: null };
  return { ...state, timeline: emptyTimeline(id), seen: state.seen.includes(id) ? state.seen : [...state.seen, id] };
}

/**
 * @param {string} id
 * @returns {Timeline}
 */
function emptyTimeline(id) {
  return { id, events: [], history: "loading", error: "", trimmedBefore: 0 };
}

/**
 * @param {PageState} state
 * @param {Extract<Action, {type: "history"}>} action
 * @returns {PageState}
 */
function withHistory(state, { id, events, isComplete, trimmedBefore = 0 }) {
  if (state.timeline?.id !== id) return state;
  return {
    ...state,
    timeline: {
      id,
      events: merge(state.timeline.events, events),
      history: isComplete ? "ready" : "loading",
      error: "",
      trimmedBefore: trimmedBefore || state.timeline.trimmedBefore,
    },
  };
}
