/**
 * A stream that stays: owns the EventSource, its cursor, and every decision about when to connect again.
 *
 * Promises: each event after the cursor reaches the handler, in order, and once handled never again; the cursor moves
 * only after the handler returned; there is at most one connection and one planned try; `close()` leaves nothing
 * running. Loss is never silent: when the server cannot continue from the cursor, `onReset` is called. Frames are
 * handled one after another even when a handler is asynchronous. What is on the screen belongs to the surfaces' `state.js`.
 *
 * @import { Cursor, EventPage, StoredEvent } from "./types.js"
 * @import { Environment } from "./environment.js"
 * @import { PollOutcome, ResetDetails } from "./poll.js"
 * @import { StateName, StreamOptions, StreamState } from "./stream-options.js"
 */

import { Connection } from "./connection.js";
import { isAfter, placed, selectionKey, StoredCursor } from "./cursor.js";
import { browserEnvironment } from "./environment.js";
import { readPage } from "./poll.js";
import { Poller } from "./poller.js";
import { isPromise, SerialQueue } from "./serial.js";
import { DEFAULTS } from "./stream-options.js";

const SILENT_KEEPALIVES = 2.5; // without any frame, after which a connection counts as dead
const POLL_LIMIT = 500; // events per page

/**
 * Upper bound of a delay, for full jitter: base, factor × base, factor² × base … cap.
 *
 * @param {number} attempt from 1
 * @param {number} baseMs
 * @param {number} capMs
 * @param {number} [factor]
 * @returns {number} milliseconds
 */
export function backoffCeiling(attempt, baseMs, capMs, factor = 2) {
  return Math.min(capMs, baseMs * factor ** Math.min(Math.max(attempt, 1) - 1, 30));
}

export class EventStream {
  #options;
  /** @type {Environment} */
  #env;
  /** @type {StoredCursor} */
  #cursor;
  #queue;
  /** @type {StreamState} */
  #state = { name: "connecting", attempt: 0, nextTryAt: null, reason: null };
  #attempt = 0;
  #silenceMs;
  /** @type {Connection | null} */
  #connection = null;
  /** The id of the cursor that the connection began at. @type {string | null} */
  #firstId = null;
  /** Whether it was said that a seq is larger than a number holds. */
  #hasWarned = false;
  /** Ends the question why the browser gave up. @type {AbortController | null} */
  #probing = null;
  /** @type {Poller | null} */
  #poller = null;
  /** @type {any} */
  #retryTimer = null;
  #isActive = false;
  #isClosed = false;
  #listeners = {
    online: () => this.#online(),
    offline: () => this.#goOffline(),
    visibilitychange: () => this.#wake(),
    pageshow: () => this.#wake(),
  };

  /** @param {StreamOptions} options */
  constructor(options) {
    this.#options = { ...DEFAULTS, ...options };
    const browser = typeof window === "undefined" ? {} : browserEnvironment();
    this.#env = /** @type {Environment} */ ({ ...browser, ...options.environment });
    const key = selectionKey(options.streams, this.#options.types);
    this.#cursor = new StoredCursor(this.#env.localStorage, key, options.start);
    this.#silenceMs = this.#options.keepaliveSeconds * SILENT_KEEPALIVES * 1000;
    this.#queue = new SerialQueue((error) => this.#handlerFailed(error));
  }

  /** The present state; a new object at every change. @returns {StreamState} */
  get state() {
    return this.#state;
  }

  /** What has been handled so far; null before the first frame of a new selection. @returns {Cursor | null} */
  get cursor() {
    return this.#cursor.value;
  }

  /**
   * Connect for the first time. It tries even if the browser is offline: a server on this machine may answer.
   */
  start() {
    if (this.#isActive || this.#isClosed) return;
    if (this.#options.start) this.#cursor.replace(this.#options.start);
    this.reconnectNow();
  }

  /**
   * Try at once, whatever was planned; also wakes a stream that the server refused or ended. After `close()`: nothing.
   */
  reconnectNow() {
    if (this.#isClosed) return;
    this.#activate(true);
    this.#connect();
  }

  /** End it for good: no connection, no timer and no listener is left, and no handler is called any more. */
  close() {
    this.#isClosed = true;
    this.#finish("closed");
  }

  /** @param {boolean} isActive */
  #activate(isActive) {
    if (isActive === this.#isActive) return;
    this.#isActive = isActive;
    for (const [type, listener] of Object.entries(this.#listeners)) {
      if (isActive) this.#env.addEventListener(type, listener);
      else this.#env.removeEventListener(type, listener);
    }
  }

  #connect() {
    this.#disconnect();
    const isPolling = this.#poller?.isHealthy;
    this.#publish(isPolling ? "polling" : this.#attempt ? "reconnecting" : "connecting", null, this.#state.reason);
    this.#firstId = this.#cursor.value?.id ?? null;
    const connection = new Connection(this.#env, this.#streamUrl(), this.#silenceMs, {
      onFrame: (name, data, id) => {
        // A frame whose connection was replaced before its turn is dropped: the next one brings it again.
        this.#queue.push(() => (connection === this.#connection ? this.#frame(name, JSON.parse(data), id) : undefined));
      },
      onLost: (reason) => this.#fail(reason),
      onRefused: () => void this.#probe(),
    });
    this.#connection = connection;
  }

  /**
   * End the connection or the probe and cancel the planned try. Polling goes on.
   */
  #disconnect() {
    this.#env.clearTimeout(this.#retryTimer);
    this.#connection?.close();
    this.#connection = null;
    this.#probing?.abort();
    this.#probing = null;
  }

  /**
   * Plan the next try after an interruption.
   *
   * @param {string} reason
   * @param {number} [delayMs] instead of the backoff
   */
  #fail(reason, delayMs) {
    this.#disconnect();
    if (!this.#env.isOnline()) return this.#goOffline();
    this.#attempt += 1;
    if (this.#attempt > this.#options.maxAttempts && !this.#poller?.isHealthy) return this.#finish("attempts");
    if (this.#attempt >= this.#options.failuresBeforePolling) this.#startPolling();
    // While polls bring the events there is no hurry: the stream is tried now and then.
    const calm = this.#poller?.isHealthy ? (this.#options.capMs * (1 + this.#env.random())) / 2 : undefined;
    const delay = delayMs ?? calm ?? this.#backoff(this.#attempt);
    this.#retryTimer = this.#env.setTimeout(() => this.#connect(), delay);
    this.#publish(this.#poller?.isHealthy ? "polling" : "reconnecting", this.#env.now() + delay, reason);
  }

  /**
   * @param {number} attempt
   * @returns {number} milliseconds
   */
  #backoff(attempt) {
    const { baseMs, capMs, factor } = this.#options;
    return this.#env.random() * backoffCeiling(attempt, baseMs, capMs, factor);
  }

  /** @param {unknown} error */
  #handlerFailed(error) {
    (this.#options.onHandlerError ?? console.error)(error);
    this.#stopPolling();
    if (this.#isActive) this.#fail("handler");
  }

  /** @param {string} reason */
  #finish(reason) {
    this.#disconnect();
    this.#stopPolling();
    this.#queue.clear();
    this.#activate(false);
    this.#publish("closed", null, reason);
  }

  #goOffline() {
    if (this.#options.maxAttempts <= 0) return this.#finish("attempts");
    this.#disconnect();
    this.#stopPolling();
    this.#publish("offline", null, "network");
  }

  #online() {
    this.#attempt = 0;
    if (this.#state.name !== "connected") this.#connect();
  }

  /** A tab that slept had no timers: look at the clock. */
  #wake() {
    if (!this.#env.isVisible() || this.#state.name === "offline") return;
    const isOverdue = this.#state.nextTryAt !== null && this.#env.now() >= this.#state.nextTryAt;
    if (this.#connection?.isSilent || isOverdue) this.#connect();
  }

  /**
   * @param {StoredEvent} event
   * @param {boolean} isStreamed whether the stream brought it, not a poll
   * @returns {void | Promise<void>}
   */
  #deliver(event, isStreamed) {
    const { cursor } = event;
    if (cursor && this.#cursor.covers(cursor)) return void this.#options.onDuplicate?.(event);
    if (!Number.isSafeInteger(event.seq)) this.#warn(event);
    const handled = () => {
      if (cursor) this.#cursor.advance(cursor); // without one the end of its page is the next place
      if (isStreamed) this.#attempt = 0;
    };
    const pending = this.#options.onEvent(event);
    return isPromise(pending) ? pending.then(handled) : handled();
  }

  /**
   * The event is handed out all the same, at its place; but its seq has been rounded.
   *
   * @param {StoredEvent} event
   */
  #warn({ seq, cursor }) {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const place = cursor ?? String(seq);
    (this.#options.onHandlerError ?? console.error)(new RangeError(`the seq of the event at ${place} is larger than a number holds`));
  }

  /**
   * @param {string} name
   * @param {any} frame
   * @param {string} id
   * @returns {void | Promise<void>}
   */
  #frame(name, frame, id) {
    if (name === "event") return typeof frame?.seq === "number" ? this.#deliver(placed(frame, id), true) : undefined; // or a heartbeat
    if (name === "ready") return this.#ready(frame);
    if (name === "reset") return this.#reset(frame, false);
    if (name === "rotate") return this.#rotate(frame.next_cursor);
    if (frame.reason === "capacity") return this.#fail("capacity");
    // All pages of a server that restarts come back at once: spread them over one more retry time.
    const retryMs = (frame.retry_milliseconds ?? this.#options.baseMs) * (1 + this.#env.random());
    if (frame.reason === "shutdown") return this.#fail("shutdown", retryMs);
    if (frame.reason === "token_expired") return this.#finish("token_expired");
    if (Number.isSafeInteger(frame.last_seq)) this.#cursor.advance(String(frame.last_seq));
    return this.#finish("ended");
  }

  /**
   * The end of the replay.
   *
   * @param {{head_seq: number, cursor: string, epoch: string, keepalive_seconds?: number}} frame
   * @returns {void | Promise<void>}
   */
  #ready({ head_seq, cursor, epoch, keepalive_seconds }) {
    const known = this.#cursor.value;
    if (keepalive_seconds) this.#silenceMs = keepalive_seconds * SILENT_KEEPALIVES * 1000;
    this.#connection?.allowSilence(this.#silenceMs);
    // A server proves cursors itself; one that stands in between and does not is not believed when its log ends before ours.
    if (known?.epoch && known.epoch !== epoch && isAfter(known.id, cursor)) {
      return this.#reset({ reason: "other_epoch", oldest_seq: 1, head_seq, epoch }, true);
    }
    // All up to here was sent: without this cursor the next connection might begin at a later head and miss what came between.
    this.#cursor.replace({ epoch, id: known && isAfter(known.id, cursor) ? known.id : cursor });
    this.#attempt = 0;
    this.#stopPolling();
    return this.#publish("connected");
  }

  /**
   * @param {ResetDetails} details
   * @param {boolean} mustReconnect whether this connection, if any, does not go on from the oldest event
   * @returns {void | Promise<void>}
   */
  #reset(details, mustReconnect) {
    const connection = this.#connection;
    this.#stopPolling();
    /** @param {Cursor | void} shown */
    const proceed = (shown) => {
      if (!this.#isActive) return;
      // What retention has removed is missing before what follows on this connection; the place of this reader stays.
      const kept = details.reason === "trimmed" && !mustReconnect ? this.#cursor.value?.id : undefined;
      this.#cursor.replace(shown || { epoch: details.epoch, id: kept ?? String(Math.max(0, details.oldest_seq - 1)) });
      if ((shown || mustReconnect) && connection === this.#connection) this.#connect();
    };
    const pending = this.#options.onReset(details);
    return isPromise(pending) ? pending.then(proceed) : proceed(pending);
  }

  /** @param {string} id of the cursor to go on from */
  #rotate(id) {
    const isProgress = this.#firstId === null || isAfter(id, this.#firstId);
    this.#cursor.advance(id);
    return isProgress ? this.#connect() : this.#fail("rotate");
  }

  /** Learn why the browser gave up. */
  async #probe() {
    this.#disconnect();
    const probing = new AbortController();
    this.#probing = probing;
    const outcome = await readPage(this.#env, this.#pollUrl(1), probing.signal);
    if (probing.signal.aborted) return;
    if (outcome.kind === "throttled") this.#fail("throttled", outcome.retryAfterMs + this.#backoff(1));
    else if (outcome.kind === "page" && isAtEnd(outcome.page) && !outcome.page.events.length) this.#finish("ended");
    else if (outcome.kind === "page" || outcome.kind === "failed") this.#fail("network");
    else this.#verdict(outcome);
  }

  /** @param {Extract<PollOutcome, {kind: "ended" | "gone" | "refused"}>} outcome */
  #verdict(outcome) {
    if (outcome.kind === "gone") this.#queue.push(() => this.#reset(outcome.details, true));
    else this.#finish(outcome.kind === "refused" ? outcome.code : "ended");
  }

  #startPolling() {
    if (this.#poller) return;
    const { pollMs } = this.#options;
    const poller = new Poller({
      environment: this.#env,
      url: () => this.#pollUrl(POLL_LIMIT),
      onPage: (page) => new Promise((resolve) => this.#queuePage(page, poller, resolve)),
      onHealthy: (isFirstAfterFailure) => {
        // A server that answers again deserves a stream at once.
        if (isFirstAfterFailure && !this.#connection && !this.#probing) this.#connect();
        else this.#publish("polling", this.#state.nextTryAt, this.#state.reason);
      },
      onUnhealthy: () => this.#publish("reconnecting", this.#state.nextTryAt, this.#state.reason),
      onVerdict: (outcome) => this.#verdict(outcome),
      backoffMs: (attempt) => this.#backoff(attempt),
      pollMs,
    });
    this.#poller = poller;
    poller.start();
  }

  #stopPolling() {
    this.#poller?.stop();
    this.#poller = null;
  }

  /**
   * @param {EventPage} page
   * @param {Poller} poller
   * @param {() => void} handled
   */
  #queuePage(page, poller, handled) {
    // Without a cursor the page is the newest one; of it only the head is wanted.
    const isWanted = this.#cursor.value || this.#options.whenNew === "beginning";
    for (const event of isWanted ? page.events : []) {
      this.#queue.push(() => (poller === this.#poller ? this.#deliver(placed(event), false) : undefined));
    }
    this.#queue.push(() => {
      if (poller !== this.#poller) return;
      const known = this.#cursor.value?.id ?? "0";
      const id = isWanted ? page.next_cursor : String(page.head_seq);
      this.#cursor.replace({ epoch: page.epoch, id: isAfter(known, id) ? known : id });
      if (isAtEnd(page)) this.#finish("ended");
      handled();
    });
  }

  /**
   * @param {StateName} name
   * @param {number | null} [nextTryAt]
   * @param {string | null} [reason]
   */
  #publish(name, nextTryAt = null, reason = null) {
    const { name: oldName, attempt, nextTryAt: oldTry, reason: oldReason } = this.#state;
    if (name === oldName && attempt === this.#attempt && nextTryAt === oldTry && reason === oldReason) return;
    this.#state = { name, attempt: this.#attempt, nextTryAt, reason };
    this.#options.onState?.(this.#state);
  }

  #streamUrl() {
    const { path, whenNew, parameters } = this.#options;
    const query = this.#query(path);
    if (!this.#cursor.value) query.set("start", whenNew);
    query.set("keepalive", "event");
    for (const [name, value] of Object.entries(parameters)) query.set(name, value);
    return `${this.#options.baseUrl}${path}?${query}`;
  }

  /** @param {number} limit events */
  #pollUrl(limit) {
    const { path, pollPath, whenNew } = this.#options;
    const query = this.#query(pollPath);
    if (!this.#cursor.value && whenNew === "beginning") query.set("since_seq", "0");
    if (pollPath !== path) query.set("limit", String(limit)); // without pages the answer only has to say why the stream is refused
    return `${this.#options.baseUrl}${pollPath}?${query}`;
  }

  /** @param {string} path a path of its own names its stream, and takes neither streams nor types */
  #query(path) {
    const query = new URLSearchParams();
    if (path === DEFAULTS.path || path === DEFAULTS.pollPath) {
      for (const stream of this.#options.streams) query.append("stream", stream);
      for (const type of this.#options.types) query.append("type", type);
    }
    const cursor = this.#cursor.value;
    if (cursor) query.set("since_seq", cursor.id);
    if (cursor?.epoch) query.set("epoch", cursor.epoch);
    if (this.#options.allowPending) query.set("allow_pending", "1");
    return query;
  }
}

/** @param {EventPage} page */
function isAtEnd(page) {
  return Boolean(page.ended) && !page.has_more;
}
