/**
 * `js/stream.js` for TypeScript: a stream that resumes where it was, over kills of the server and of the network.
 */

export interface StoredEvent {
  /** Place in the whole log. */
  seq: number;
  /** `kind:id`. */
  stream: string;
  /** Place in the stream, from 1 without gaps. */
  revision: number;
  event_id: string;
  event_type: string;
  /** UTC ISO-8601 with milliseconds and `Z`. */
  timestamp: string;
  source: string;
  payload: Record<string, any>;
  /** The place after it, to go on from; null where the server gave none and its seq is larger than a number holds. */
  cursor?: string | null;
}

export interface Cursor {
  /** The log it belongs to; null while unknown. */
  epoch: string | null;
  /** Exclusive, the last event that was handled: `<seq>.<check>` as the server gave it, or the digits of a seq. */
  id: string;
}

export interface ResetDetails {
  reason: string;
  oldest_seq: number;
  head_seq: number;
  epoch: string;
  requested?: any;
}

export type StateName = "connecting" | "connected" | "reconnecting" | "offline" | "polling" | "closed";

export interface StreamState {
  name: StateName;
  /** Failures in a row; 0 when all is well. */
  attempt: number;
  /** Milliseconds since 1970; null: right now, or not planned. */
  nextTryAt: number | null;
  /**
   * `network`, `silence`, `handler`, `capacity`, `shutdown`, `throttled`, `attempts`, `ended`, `token_expired`, `closed` or an
   * error code.
   */
  reason: string | null;
}

export interface StreamOptions {
  /** Names or patterns, as in `stream=` of `/api/events*`; another `path` has its own. */
  streams: string[];
  /** Globs over event types, as in `type=` of `/api/events*`. */
  types?: string[];
  /** Called in seq order; if it throws or rejects, the event comes again with the next connection. */
  onEvent: (event: StoredEvent) => void | Promise<void>;
  /** The log cannot be continued from the cursor: read the snapshot again, and return where it ends. */
  onReset: (details: ResetDetails) => Cursor | void | Promise<Cursor | void>;
  /** Called with what came again and is dropped. */
  onDuplicate?: (event: StoredEvent) => void;
  onState?: (state: StreamState) => void;
  onHandlerError?: (error: unknown) => void;
  /** What the page already shows; wins over the stored cursor. */
  start?: Cursor | null;
  /** Where to begin without any cursor; default `live`. */
  whenNew?: "live" | "beginning";
  /** Wait for a stream that does not exist yet; default false. */
  allowPending?: boolean;
  /** Default `/api/events/stream`. */
  path?: string;
  /** Default `/api/events`. */
  pollPath?: string;
  /** Of the server, without a slash at its end; default: the page's own. */
  baseUrl?: string;
  /** More of the query of the stream. */
  parameters?: Record<string, string>;
  /** Upper bound of the first delay in milliseconds; default 1,000. */
  baseMs?: number;
  /** Upper bound of any delay in milliseconds; default 30,000. */
  capMs?: number;
  /** By which the upper bound grows from one attempt to the next; default 2. */
  factor?: number;
  /** Tries in a row after an interruption, then it closes with the reason `attempts`; 0: none; default: no limit. */
  maxAttempts?: number;
  /** Default 4. */
  failuresBeforePolling?: number;
  /** Milliseconds between two polls; default 3,000. */
  pollMs?: number;
  /** Until the server has told its own; default 15. */
  keepaliveSeconds?: number;
}

/** Upper bound of a delay, for full jitter: base, factor × base, factor² × base … cap, in milliseconds. */
export function backoffCeiling(attempt: number, baseMs: number, capMs: number, factor?: number): number;

export class EventStream {
  constructor(options: StreamOptions);
  /** A new object at every change. */
  get state(): StreamState;
  /** What has been handled so far; null before the first frame of a new selection. */
  get cursor(): Cursor | null;
  start(): void;
  /** Try at once, whatever was planned; also wakes a stream that the server refused or ended. */
  reconnectNow(): void;
  /** End it for good. */
  close(): void;
}
