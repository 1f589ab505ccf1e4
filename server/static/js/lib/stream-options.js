/**
 * The options of an `EventStream`, their defaults, and its states.
 *
 * @import { Cursor, StoredEvent } from "./types.js"
 * @import { Environment } from "./environment.js"
 * @import { ResetDetails } from "./poll.js"
 */

/**
 * @typedef {"connecting" | "connected" | "reconnecting" | "offline" | "polling" | "closed"} StateName
 *
 * @typedef {object} StreamState
 * @property {StateName} name
 * @property {number} attempt failures in a row; 0 when all is well
 * @property {number | null} nextTryAt when the stream is tried next, ms since 1970; null: right now, or not planned
 * @property {string | null} reason why it is closed or interrupted: `network`, `silence`, `handler`, `capacity`,
 *   `shutdown`, `throttled`, `attempts`, `ended`, `token_expired`, `closed`, or the server's error code
 *
 * @typedef {object} StreamOptions
 * @property {string[]} streams names or patterns, as in `stream=` of `/api/events*`; another `path` has its own
 * @property {string[]} [types] globs over event types, as in `type=` of `/api/events*`
 * @property {(event: StoredEvent) => void | Promise<void>} onEvent called in seq order; if it throws or rejects, the
 *   event comes again with the next connection
 * @property {(details: ResetDetails) => Cursor | void | Promise<Cursor | void>} onReset the log cannot be continued from
 *   the cursor: read the snapshot again; return where it ends to go on from there, or nothing to get all that is kept
 * @property {(event: StoredEvent) => void} [onDuplicate] called with what came again and is dropped
 * @property {(state: StreamState) => void} [onState]
 * @property {(error: unknown) => void} [onHandlerError] what a handler threw; default: to the console
 * @property {Cursor | null} [start] what the page already shows; wins over the stored cursor
 * @property {"live" | "beginning"} [whenNew] where to begin without any cursor; default `live`
 * @property {boolean} [allowPending] wait for a stream that does not exist yet; default false
 * @property {string} [path] of the stream; default `/api/events/stream`
 * @property {string} [pollPath] default `/api/events`
 * @property {string} [baseUrl] of the server, without a slash at its end; default: the page's own
 * @property {Record<string, string>} [parameters] more of the query of the stream
 * @property {number} [baseMs] upper bound of the first delay; default 1,000
 * @property {number} [capMs] upper bound of any delay; default 30,000
 * @property {number} [factor] by which the upper bound grows from one attempt to the next; default 2
 * @property {number} [maxAttempts] tries in a row after an interruption, then it closes with the reason `attempts`, unless
 *   polls bring the events; 0: it does not come back, nor wait for the network; default: no limit
 * @property {number} [failuresBeforePolling] default 4
 * @property {number} [pollMs] between two polls; default 3,000
 * @property {number} [keepaliveSeconds] until the server has sent its own; default 15
 * @property {Partial<Environment>} [environment] replaces parts of the browser
 */

/** The options that have a default. */
export const DEFAULTS = {
  types: /** @type {string[]} */ ([]),
  whenNew: "live",
  path: "/api/events/stream",
  pollPath: "/api/events",
  baseUrl: "",
  parameters: /** @type {Record<string, string>} */ ({}),
  baseMs: 1000,
  capMs: 30_000,
  factor: 2,
  maxAttempts: Infinity,
  failuresBeforePolling: 4,
  pollMs: 3000,
  keepaliveSeconds: 15,
};
