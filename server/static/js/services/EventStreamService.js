/**
 * Source 002's `EventStreamService`: the events of a task, each once and in order, over kills of the server and of the network.
 *
 * All tabs of an origin that watch a task share one connection: `tabs.js` elects the one that has it. That one connects with
 * `EventStream`, the others hear from it; what each hands out is put in order, and what is missing is read, by its own
 * `intake.js`, so the origin of an event and the moment of a hand-over do not matter.
 *
 * @import { Environment } from "../lib/environment.js"
 * @import { ResetDetails } from "../lib/poll.js"
 * @import { StreamState } from "../lib/stream-options.js"
 * @import { Position } from "./ordering.js"
 * @import { ServiceOptions, ServiceState, Stats, TaskEvent } from "./options.js"
 */

import { isCursorId, seqDigits } from "../lib/cursor.js";
import { browserEnvironment } from "../lib/environment.js";
import { backoffCeiling, EventStream } from "../lib/event-stream.js";
import { Intake } from "./intake.js";
import { DEFAULTS, streamError } from "./options.js";
import { SavedPosition } from "./saved-position.js";
import { Tabs } from "./tabs.js";

export { PROFILES } from "./options.js";

const NOT_AN_ERROR = new Set(["shutdown", "ended", "closed"]);

export class EventStreamService {
  /** What was given, and the defaults; a callback may be replaced at any time. */
  options;
  /** Failures in a row; 0 when all is well. */
  reconnectAttempts = 0;
  /** Milliseconds from the interruption to the next try; without one, `reconnectDelay`. */
  currentReconnectDelay;

  #taskId;
  /** @type {Environment} */
  #env;
  #baseUrl;
  #saved;
  #intake;
  #tabs;
  /** Only while this tab leads. @type {EventStream | null} */
  #stream = null;
  /** @type {ServiceState} */
  #state = "disconnected";
  /** @type {StreamState} */
  #streamState = { name: "connecting", attempt: 0, nextTryAt: null, reason: null };
  #isStarted = false;
  #isInterrupted = false;
  #isEnding = false;
  #stats = { eventsReceived: 0, reconnects: 0, errors: 0, gapsDetected: 0, gapsRecovered: 0, duplicates: 0 };

  /**
   * @param {string} taskId
   * @param {ServiceOptions} [options]
   */
  constructor(taskId, options = {}) {
    this.options = { ...DEFAULTS, ...options };
    this.currentReconnectDelay = this.options.reconnectDelay;
    const browser = typeof window === "undefined" ? {} : browserEnvironment();
    this.#env = /** @type {Environment} */ ({ ...browser, ...options.environment });
    this.#taskId = String(taskId);
    this.#baseUrl = this.options.baseUrl.replace(/\/+$/, "");
    const { storage, gapDetection, since_seq } = this.options;
    this.#saved = new SavedPosition(storage === true ? this.#env.localStorage : storage || null, this.#baseUrl, this.#taskId);
    /** @type {Position} */
    const given = { epoch: null, ...placeOf(since_seq), revision: null };
    const position = given.seq ? given : (this.#saved.load() ?? given);
    const begin = { position, detectsGaps: gapDetection, url: `${this.#baseUrl}${this.#eventsPath}` };
    this.#intake = new Intake(this.#env, begin, this.#intakeHandlers());
    this.#tabs = new Tabs(this.#env, `towow.task:${this.#baseUrl}|${this.#taskId}`, {
      onLead: () => this.#lead(),
      onDeposed: () => this.#stopLeading(),
      onMessage: (message) => this.#messaged(message),
      onRequest: () => this.#tell(),
    });
    this.#log("enabled", this.#taskId);
  }

  /** @returns {ServiceState} */
  get state() {
    return this.#state;
  }

  /** The last event that was handled; before the start, where it will begin. @returns {Position} */
  get position() {
    return { ...this.#intake.position };
  }

  /** Connect, or hear what another tab's connection brings; goes on after the last event that was handled. */
  start() {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#isEnding = false;
    this.#isInterrupted = false;
    this.#show({ name: "connecting", attempt: 0, nextTryAt: null, reason: null });
    if (!this.#isStarted) return; // a listener has stopped it
    this.#intake.start();
    // Without a check of revisions a tab would not notice what it missed before it listened to the others.
    if (this.options.shared && this.options.gapDetection) {
      this.#intake.isSettled = false;
      this.#tabs.join();
    } else {
      this.#lead();
    }
  }

  /**
   * End it: no connection, no timer and no listener is left, and no event is handed out any more. `start()` goes on.
   */
  stop() {
    if (this.#isStarted) this.#finish("closed");
  }

  /** A copy of the counters. @returns {Stats} */
  getStats() {
    return { ...this.#stats };
  }

  /**
   * Read everything from a seq on over REST, and hand out what was missed. It happens by itself when a gap is detected.
   *
   * @param {number} expectedSeq inclusive
   * @returns {Promise<number>} how many events were missed
   */
  _handleGap(expectedSeq) {
    return this.#intake.recover(expectedSeq);
  }

  get #eventsPath() {
    return `/api/tasks/${encodeURIComponent(this.#taskId)}/events`;
  }

  #intakeHandlers() {
    return {
      onEvent: (/** @type {TaskEvent} */ event) => this.options.onEvent?.(event),
      onHandled: (/** @type {Position} */ position) => this.#saved.save(position),
      onError: (/** @type {string} */ code, /** @type {unknown} */ error) => this.#error(code, error),
      onReset: (/** @type {ResetDetails} */ details) => {
        this.#log("reset", details);
        this.#call(() => this.options.onReset?.(details));
      },
      onRefused: (/** @type {string} */ code) => {
        this.#error(code, `the server refused to tell the events of ${this.#taskId}: ${code}`);
        this.#finish("closed");
      },
      onIdle: () => this.#idle(),
      onCount: (/** @type {Partial<Stats>} */ change) => {
        for (const [name, count] of Object.entries(change)) this.#stats[/** @type {keyof Stats} */ (name)] += count;
        this.#log("count", change);
      },
      backoffMs: (/** @type {number} */ attempt) => {
        const { reconnectDelay, maxReconnectDelay, reconnectBackoff } = this.options;
        return this.#env.random() * backoffCeiling(attempt, reconnectDelay, maxReconnectDelay, reconnectBackoff);
      },
    };
  }

  #lead() {
    const { batch_size, flush_interval, autoReconnect, maxReconnectAttempts } = this.options;
    const { epoch, cursor } = this.#intake.position;
    this.#intake.isSettled = true;
    const stream = new EventStream({
      streams: [],
      baseUrl: this.#baseUrl,
      path: `/sse/tasks/${encodeURIComponent(this.#taskId)}/events`,
      pollPath: this.#eventsPath,
      parameters: { batch_size: String(batch_size), flush_interval: String(flush_interval) },
      start: { epoch, id: cursor },
      allowPending: this.options.allowPending,
      baseMs: this.options.reconnectDelay,
      capMs: this.options.maxReconnectDelay,
      factor: this.options.reconnectBackoff,
      maxAttempts: autoReconnect ? maxReconnectAttempts : 0,
      environment: { ...this.#env, localStorage: null },
      onEvent: (event) => this.#received(/** @type {any} */ (event)),
      onDuplicate: () => {
        this.#stats.duplicates += 1;
      },
      onReset: (details) => {
        this.#tabs.post({ kind: "reset", details });
        this.#intake.reset(details);
      },
      onState: (state) => stream === this.#stream && this.#streamChanged(state),
    });
    this.#log("leads from", cursor);
    this.#stream = stream;
    this.#streamChanged(stream.state);
    if (stream === this.#stream) stream.start();
  }

  /** @param {TaskEvent} event */
  #received(event) {
    if (this.options.filter?.(event) === false) {
      this.#log("dropped by the filter", event.seq);
      return;
    }
    // The other tabs read for themselves what comes before the server has named its log.
    const { epoch } = this.#intake.position;
    if (epoch !== null) this.#tabs.post({ kind: "event", epoch, event });
    this.#intake.push(event);
  }

  /** @param {StreamState} state */
  #streamChanged(state) {
    const cursor = this.#stream?.cursor;
    const seq = placeOf(cursor?.id).seq;
    if (state.name === "connected" && cursor?.epoch) {
      const { epoch } = this.#intake.position;
      // A page of the REST API may have named a log that was replaced before the stream was open.
      if (epoch !== null && epoch !== cursor.epoch) this.#reach(cursor.epoch, seq, true);
      this.#intake.meet(cursor.epoch);
      this.#saved.save(this.#intake.position);
      this.#intake.hurry();
    }
    const isOwn = state.reason === "closed" || (state.name === "closed" && !this.options.autoReconnect);
    if (!isOwn) this.#tell(state);
    if (state.name === "closed" && state.reason === "ended") this.#end(seq);
    else this.#show(state);
  }

  /** Tell the other tabs how the connection is and how far it has come. @param {StreamState} [state] */
  #tell(state = this.#stream?.state ?? this.#streamState) {
    const seq = Math.max(this.#intake.furthestSeq, state.reason === "ended" ? placeOf(this.#stream?.cursor?.id).seq : 0);
    this.#tabs.post({ kind: "state", state, epoch: this.#intake.position.epoch, seq });
  }

  /** @param {any} message from the tab that leads */
  #messaged({ kind, event, details, state, epoch, seq }) {
    const own = this.#intake.position.epoch;
    if (kind === "event") {
      if (own !== null && own !== epoch) return;
      this.#intake.meet(epoch);
      if (this.options.filter?.(event) !== false) this.#intake.push(event);
    } else if (kind === "reset") {
      this.#intake.reset(details);
    } else if (kind === "state") {
      this.#reach(epoch, seq, state.name === "connected");
      if (state.name === "closed" && state.reason === "ended") this.#end(own === null || own === epoch ? seq : 0);
      else this.#show(state);
    }
  }

  /**
   * @param {string | null} epoch
   * @param {number} seq
   * @param {boolean} isConfirmed whether the server has just confirmed this log
   */
  #reach(epoch, seq, isConfirmed) {
    const own = this.#intake.position.epoch;
    if (epoch === null) return;
    if (isConfirmed && own !== null && own !== epoch) {
      this.#intake.reset({ reason: "other_epoch", oldest_seq: 1, head_seq: seq, epoch });
    }
    if (isConfirmed) this.#intake.meet(epoch);
    if (this.#intake.position.epoch !== epoch) return;
    this.#intake.reach(seq);
  }

  #stopLeading() {
    const stream = this.#stream;
    this.#stream = null;
    stream?.close();
  }

  /** The task is over: `onEnd` is called after its last event was handled. @param {number} lastSeq */
  #end(lastSeq) {
    this.#isEnding = true;
    if (this.options.gapDetection) this.#intake.reach(lastSeq);
    if (this.#intake.isIdle) this.#idle();
  }

  #idle() {
    this.#intake.isSettled = true;
    if (!this.#isEnding || !this.#isStarted) return;
    this.#leave();
    this.#call(() => this.options.onEnd?.());
    if (!this.#isStarted) this.#become("closed");
  }

  /** @param {StreamState} state of this tab's connection or of the leader's */
  #show(state) {
    const isNews = state.attempt !== this.#streamState.attempt || state.name === "closed";
    this.#streamState = state;
    this.reconnectAttempts = state.attempt;
    const delay = state.nextTryAt === null ? null : Math.max(0, state.nextTryAt - this.#env.now());
    if (delay !== null) this.currentReconnectDelay = delay;
    else if (state.attempt === 0) this.currentReconnectDelay = this.options.reconnectDelay;
    if (state.name === "connected") {
      if (this.#isInterrupted) this.#stats.reconnects += 1;
      this.#isInterrupted = false;
    } else if (state.reason !== null) {
      this.#isInterrupted = true;
    }
    if (isNews && state.reason !== null && !NOT_AN_ERROR.has(state.reason)) {
      this.#error(state.reason, `the connection to ${this.#taskId} is ${state.name}: ${state.reason}`);
    }
    if (!this.#isStarted) return; // the listener of the error has stopped it
    const isLost = state.reason === "attempts" && !this.options.autoReconnect;
    if (state.name === "closed") this.#finish(isLost ? "disconnected" : "closed");
    else if (state.name === "connected" || state.name === "offline") this.#become(state.name);
    else this.#become(delay === null ? "connecting" : "reconnecting");
  }

  /** @param {ServiceState} state */
  #finish(state) {
    this.#leave();
    this.#become(state);
  }

  #leave() {
    this.#isStarted = false;
    this.#intake.stop();
    this.#stopLeading();
    this.#tabs.leave();
  }

  /** @param {ServiceState} state */
  #become(state) {
    if (state === this.#state) return;
    this.#log(this.#state, "→", state);
    this.#state = state;
    this.#call(() => this.options.onStateChange?.(state));
  }

  /**
   * @param {string} code
   * @param {unknown} cause
   */
  #error(code, cause) {
    this.#stats.errors += 1;
    const message = cause instanceof Error ? cause.message : String(cause);
    const error = Object.assign(streamError(code, message), cause instanceof Error ? { cause } : {});
    this.#log("error", code, message);
    this.#call(() => this.options.onError?.(error));
  }

  /** A callback that fails must not keep the others from running. @param {() => void} callback */
  #call(callback) {
    try {
      callback();
    } catch (error) {
      console.error("[EventStreamService]", error);
    }
  }

  /** @param {...unknown} words */
  #log(...words) {
    if (this.options.debug) console.info("[EventStreamService]", ...words);
  }
}

/**
 * Pages keep cursors as texts, and read NaN where there is none.
 *
 * @param {unknown} value
 * @returns {{seq: number, cursor: string}} the beginning for what is no cursor
 */
function placeOf(value) {
  const cursor = isCursorId(String(value)) ? String(value) : "0";
  return { seq: Number(seqDigits(cursor)), cursor };
}
