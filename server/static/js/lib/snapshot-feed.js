/**
 * A snapshot, and the stream from exactly there: the snapshot is read until it works, and again when the log cannot be continued.
 *
 * A feed that was closed shows nothing and holds neither a connection nor a timer.
 *
 * @import { Cursor, StoredEvent } from "./types.js"
 * @import { StreamOptions, StreamState } from "./stream-options.js"
 */

import { access } from "./access.js";
import { seqDigits } from "./cursor.js";
import { RequestError } from "./http.js";
import { EventStream } from "./event-stream.js";
import { wait } from "./wait.js";

const AGAIN_MS = 2000; // after a snapshot that could not be read, at least

/**
 * Read something until it works.
 *
 * @template Read
 * @param {() => Promise<Read>} read
 * @param {AbortSignal} signal ends it, also between two tries
 * @param {(error: unknown) => void} [onFailed] called before it is tried again
 * @param {number[]} [refusals] statuses after which it is not tried again
 * @returns {Promise<Read | null>} null when it was ended or the server refused
 */
export async function readUntilItWorks(read, signal, onFailed = () => undefined, refusals = []) {
  while (!signal.aborted) {
    await access.ready();
    if (signal.aborted) break;
    try {
      return await read();
    } catch (error) {
      if (signal.aborted) break;
      onFailed(error);
      if (error instanceof RequestError && refusals.includes(error.status)) break;
    }
    await wait(AGAIN_MS * (1 + Math.random()), signal);
  }
  return null;
}

/**
 * @template Snapshot
 * @typedef {object} FeedOptions
 * @property {() => Promise<Snapshot>} read
 * @property {(snapshot: Snapshot, isReset: boolean) => Cursor | null} onSnapshot shows it and returns where it ends; null: nothing follows
 * @property {(error: unknown) => void} [onFailed] called with what made the first read fail
 * @property {number[]} [refusals] statuses after which it is not read again by itself; default 403
 * @property {Omit<StreamOptions, "start" | "onReset">} stream without a stored cursor unless its `environment` has a storage
 */

/** @template Snapshot */
export class SnapshotFeed {
  #options;
  /** @type {EventStream | null} */
  #stream = null;
  /** Ends the reading that is under way. */
  #reading = new AbortController();
  #isClosed = false;

  /** @param {FeedOptions<Snapshot>} options */
  constructor(options) {
    this.#options = options;
  }

  /** Null before the snapshot. @returns {StreamState | null} */
  get state() {
    return this.#stream?.state ?? null;
  }

  /** The last event that is shown. @returns {number} */
  get seq() {
    return Number(seqDigits(this.#stream?.cursor?.id ?? "0"));
  }

  /** Read the snapshot, then follow what comes after it. */
  async begin() {
    if (this.#stream || this.#isClosed) return;
    this.#reading.abort();
    const reading = new AbortController();
    this.#reading = reading;
    const { read, onSnapshot, onFailed, refusals = [403], stream } = this.#options;
    const snapshot = await readUntilItWorks(read, reading.signal, onFailed, refusals);
    const start = snapshot === null || reading.signal.aborted ? null : onSnapshot(snapshot, false);
    if (!start) return;
    this.#stream = new EventStream({ environment: { localStorage: null }, ...stream, start, onReset: () => this.#readAgain() });
    this.#stream.start();
  }

  /** Try at once whatever was planned. */
  reconnectNow() {
    if (!this.#stream) void this.begin();
    else if (this.#stream.state.reason !== "ended") this.#stream.reconnectNow();
  }

  close() {
    this.#isClosed = true;
    this.#reading.abort();
    this.#stream?.close();
  }

  async #readAgain() {
    const snapshot = await this.#options.read();
    return (this.#isClosed ? null : this.#options.onSnapshot(snapshot, true)) ?? undefined;
  }
}

/**
 * Follow one stream that is shown whole, so that there is neither a snapshot nor a cursor to keep.
 *
 * @param {object} options
 * @param {string} options.stream its name; it need not exist yet
 * @param {string} options.path
 * @param {() => void} options.onBegin forget what is shown: it comes from the beginning
 * @param {(event: StoredEvent) => void} options.onEvent
 * @param {(state: StreamState) => void} options.onState
 * @param {StreamOptions["environment"]} [options.environment]
 * @returns {EventStream}
 */
export function followWhole({ stream, path, onBegin, onEvent, onState, environment }) {
  onBegin();
  const whole = new EventStream({
    streams: [stream],
    path,
    allowPending: true,
    whenNew: "beginning",
    environment: { ...environment, localStorage: null },
    onEvent,
    onReset: onBegin,
    onState,
  });
  whole.start();
  return whole;
}
