/**
 * The options of an `EventStreamService`, its states and counters: source 002's with their defaults, and ours.
 *
 * @import { ResetDetails } from "../lib/poll.js"
 * @import { Environment } from "../lib/environment.js"
 */

/**
 * @typedef {object} TaskEvent
 * @property {number} seq place in the whole log
 * @property {string | null} [cursor] the place after it, as the server gave it: what `since_seq` takes
 * @property {number} revision place in the task, from 1 without gaps
 * @property {string} event_id
 * @property {string} event_type
 * @property {string} task_id
 * @property {string | null} phase
 * @property {string | null} span_id of a work item
 * @property {Record<string, any>} payload
 * @property {string} timestamp UTC ISO-8601 with milliseconds and `Z`
 * @property {string} source
 *
 * @typedef {"disconnected" | "connecting" | "connected" | "reconnecting" | "offline" | "closed"} ServiceState
 *
 * @typedef {object} Stats
 * @property {number} eventsReceived handed to `onEvent`, each once
 * @property {number} reconnects times that the connection came back after an interruption
 * @property {number} errors
 * @property {number} gapsDetected
 * @property {number} gapsRecovered
 * @property {number} duplicates events that came again and were dropped
 *
 * @typedef {Error & {code: string}} StreamError `code`: `network`, `silence`, `throttled`, `capacity`, `attempts`,
 *   `token_expired`, `handler`, `backfill`, `gap_lost`, or the server's error code
 *
 * @typedef {object} ServiceOptions
 * @property {number | string} [since_seq] begin after this event, its seq or its `cursor`; default 0: from the beginning
 * @property {number} [batch_size] events that the server may hold back, 1 to 100; default 10
 * @property {number} [flush_interval] seconds that it may hold them back, 0.1 to 5; default 0.5
 * @property {number} [reconnectDelay] upper bound of the first delay in milliseconds; default 1,000
 * @property {number} [maxReconnectDelay] upper bound of any delay in milliseconds; default 30,000
 * @property {number} [reconnectBackoff] by which the bound grows; default 2
 * @property {number} [maxReconnectAttempts] in a row; default Infinity
 * @property {boolean} [autoReconnect] default true
 * @property {boolean} [gapDetection] default true
 * @property {string} [baseUrl] of the server; default `""`: the page's own
 * @property {(event: TaskEvent) => void | Promise<void>} [onEvent] called in order, each once; if it throws or rejects, the
 *   event is handed out again after a delay, and the later ones wait
 * @property {(state: ServiceState) => void} [onStateChange]
 * @property {(error: StreamError) => void} [onError]
 * @property {(details: ResetDetails) => void} [onReset] the log cannot be continued from here: forget what is shown; everything
 *   that is kept comes again
 * @property {() => void} [onEnd] the task is over and its last event was handled
 * @property {boolean} [shared] one connection for all tabs of this origin; default true
 * @property {boolean | Pick<Storage, "getItem" | "setItem" | "removeItem">} [storage] remember the cursor; true: in
 *   localStorage; default false
 * @property {boolean} [allowPending] wait for a task that does not exist yet, instead of ending with `not_found`; default false
 * @property {boolean} [debug] log to the console; default false
 * @property {(event: TaskEvent) => boolean} [filter] false drops an event that the stream brought, as a bad proxy would
 * @property {Partial<Environment>} [environment] replaces parts of the browser
 */

const nothing = () => {};

/** The options that have a default. */
export const DEFAULTS = {
  since_seq: 0,
  batch_size: 10,
  flush_interval: 0.5,
  reconnectDelay: 1000,
  maxReconnectDelay: 30_000,
  reconnectBackoff: 2,
  maxReconnectAttempts: Infinity,
  autoReconnect: true,
  gapDetection: true,
  baseUrl: "",
  onEvent: /** @type {(event: TaskEvent) => void | Promise<void>} */ (nothing),
  onStateChange: /** @type {(state: ServiceState) => void} */ (nothing),
  onError: /** @type {(error: StreamError) => void} */ (nothing),
  onReset: /** @type {(details: ResetDetails) => void} */ (nothing),
  onEnd: nothing,
  shared: true,
  storage: /** @type {boolean | Pick<Storage, "getItem" | "setItem" | "removeItem">} */ (false),
  allowPending: false,
  debug: false,
  filter: /** @type {(event: TaskEvent) => boolean} */ (() => true),
};

/** Named sets of options, to spread into one's own. */
export const PROFILES = Object.freeze({
  default: Object.freeze({}),
  low_latency: Object.freeze({ batch_size: 1, flush_interval: 0.1 }),
  high_throughput: Object.freeze({ batch_size: 50, flush_interval: 2 }),
  low_bandwidth: Object.freeze({ reconnectDelay: 5000, maxReconnectDelay: 60_000 }),
});

/**
 * @param {string} code
 * @param {string} message
 * @returns {StreamError}
 */
export function streamError(code, message) {
  return Object.assign(new Error(message), { code });
}
