/**
 * `js/services/EventStreamService.js` for TypeScript: the events of a task, each once and in order. `samples/tsconfig.json`
 * shows how to map the module to this file.
 */

import type { ResetDetails } from "./stream";

export interface TaskEvent {
  /** Place in the whole log. */
  seq: number;
  /** The place after it, as the server gave it: what `since_seq` takes. */
  cursor?: string | null;
  /** Place in the task, from 1 without gaps. */
  revision: number;
  event_id: string;
  event_type: string;
  task_id: string;
  phase: string | null;
  /** Of a work item. */
  span_id: string | null;
  payload: Record<string, any>;
  /** UTC ISO-8601 with milliseconds and `Z`. */
  timestamp: string;
  source: string;
}

/**
 * `disconnected`: not started, or lost with `autoReconnect: false`. `connecting`: a try is on its way. `reconnecting`: the
 * next one is planned. `closed`: stopped, the task is over, refused, or out of attempts.
 */
export type ServiceState = "disconnected" | "connecting" | "connected" | "reconnecting" | "offline" | "closed";

export interface Stats {
  /** Handed to `onEvent`, each once. */
  eventsReceived: number;
  /** Times that the connection came back after an interruption. */
  reconnects: number;
  errors: number;
  gapsDetected: number;
  gapsRecovered: number;
  /** Events that came again and were dropped. */
  duplicates: number;
}

/**
 * `code`: `network`, `silence`, `throttled`, `capacity`, `attempts`, `token_expired`, `handler`, `backfill`, `gap_lost`, or the
 * server's error code.
 */
export type StreamError = Error & { code: string };

/** The last event that was handled. */
export interface Position {
  /** The log it belongs to; null while unknown. */
  epoch: string | null;
  seq: number;
  /** The place after it, as the server gave it. */
  cursor: string;
  /** Null while unknown. */
  revision: number | null;
}

export interface ServiceOptions {
  /** Begin after this event, its seq or its `cursor`; default 0: from the beginning. */
  since_seq?: number | string;
  /** Events that the server may hold back, 1 to 100; default 10. */
  batch_size?: number;
  /** Seconds that it may hold them back, 0.1 to 5; default 0.5. */
  flush_interval?: number;
  /** Upper bound of the first delay in milliseconds; default 1,000. */
  reconnectDelay?: number;
  /** Upper bound of any delay in milliseconds; default 30,000. */
  maxReconnectDelay?: number;
  /** By which the bound grows; default 2. */
  reconnectBackoff?: number;
  /** In a row; default Infinity. */
  maxReconnectAttempts?: number;
  /** Default true. */
  autoReconnect?: boolean;
  /** Default true. */
  gapDetection?: boolean;
  /** Of the server; default `""`: the page's own. */
  baseUrl?: string;
  /** Called in order, each once; if it throws or rejects, the event comes again after a delay, and the later ones wait. */
  onEvent?: (event: TaskEvent) => void | Promise<void>;
  onStateChange?: (state: ServiceState) => void;
  onError?: (error: StreamError) => void;
  /** The log cannot be continued from here: forget what is shown; everything that is kept comes again. */
  onReset?: (details: ResetDetails) => void;
  /** The task is over and its last event was handled. */
  onEnd?: () => void;
  /** One connection for all tabs of this origin; default true. */
  shared?: boolean;
  /** Remember the cursor; true: in localStorage; default false. */
  storage?: boolean | Pick<Storage, "getItem" | "setItem" | "removeItem">;
  /** Wait for a task that does not exist yet; default false. */
  allowPending?: boolean;
  /** Log to the console; default false. */
  debug?: boolean;
  /** False drops an event that the stream brought, as a bad proxy would. */
  filter?: (event: TaskEvent) => boolean;
}

/** Named sets of options, to spread into one's own. */
export const PROFILES: {
  readonly default: {};
  readonly low_latency: { readonly batch_size: number; readonly flush_interval: number };
  readonly high_throughput: { readonly batch_size: number; readonly flush_interval: number };
  readonly low_bandwidth: { readonly reconnectDelay: number; readonly maxReconnectDelay: number };
};

export class EventStreamService {
  constructor(taskId: string, options?: ServiceOptions);
  /** What was given, and the defaults; a callback may be replaced at any time. */
  options: ServiceOptions;
  /** Failures in a row; 0 when all is well. */
  reconnectAttempts: number;
  /** Milliseconds from the interruption to the next try; without one, `reconnectDelay`. */
  currentReconnectDelay: number;
  get state(): ServiceState;
  /** The last event that was handled; before the start, where it will begin. */
  get position(): Position;
  /** Goes on after the last event that was handled. */
  start(): void;
  /** Leaves no connection, no timer and no listener behind; `start()` goes on. */
  stop(): void;
  /** A copy of the counters. */
  getStats(): Stats;
  /** Read everything from a seq (inclusive) on over REST, and hand out what was missed; how many events that were. */
  _handleGap(expectedSeq: number): Promise<number>;
}
