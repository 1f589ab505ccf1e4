/**
 * From what arrives to what is handed out: one event after the other, each once, with what is missing read over REST first.
 *
 * Live events wait meanwhile. An event counts as handled when its handler has returned; one whose handler failed is handed out
 * again. Where events come from, a stream or another tab, is the business of `EventStreamService.js`.
 *
 * @import { Environment } from "../lib/environment.js"
 * @import { ResetDetails } from "../lib/poll.js"
 * @import { Missing, Position } from "./ordering.js"
 * @import { TaskEvent } from "./options.js"
 *
 * @typedef {object} IntakeHandlers
 * @property {(event: TaskEvent) => void | Promise<void>} onEvent
 * @property {(position: Position) => void} onHandled after the handler returned
 * @property {(code: string, error: unknown) => void} onError
 * @property {(details: ResetDetails) => void} onReset
 * @property {(code: string) => void} onRefused the server will not answer, whenever one asks
 * @property {() => void} onIdle nothing waits and nothing is missing
 * @property {(change: Partial<import("./options.js").Stats>) => void} onCount
 * @property {(attempt: number) => number} backoffMs
 */

import { isPromise } from "../lib/serial.js";
import { Backfill } from "./backfill.js";
import { Ordering } from "./ordering.js";

export class Intake {
  /** Whether a hole is a gap; before a tab has caught up with the others it is not. */
  isSettled = true;
  #environment;
  #handlers;
  #ordering;
  #backfill;
  #isRunning = false;
  #isDelivering = false;
  #delivering = Promise.resolve();
  #failures = 0;
  /** Grows with every restart, so that an event handled meanwhile does not move the new position. */
  #generation = 0;
  /** @type {any} */
  #retry = null;
  /** The event that was handed out last, maybe for another time. @type {TaskEvent | null} */
  #handedOut = null;
  /** A reset that is not reported yet. @type {ResetDetails | null} */
  #unreported = null;
  /** The last revision of the hole that was counted and is still open; 0 for none. */
  #openGap = 0;

  /**
   * @param {Environment} environment
   * @param {object} given
   * @param {Position} given.position
   * @param {boolean} given.detectsGaps
   * @param {string} given.url of the task's events
   * @param {IntakeHandlers} handlers
   */
  constructor(environment, { position, detectsGaps, url }, handlers) {
    this.#environment = environment;
    this.#handlers = handlers;
    this.#ordering = new Ordering(position, detectsGaps);
    this.#backfill = new Backfill(environment, url, {
      onEvents: (events) => this.#take(events),
      onEpoch: (epoch) => this.meet(epoch),
      onDone: (missing) => this.#filled(missing),
      onFailed: (missing) => this.#unfilled(missing),
      onGone: (details) => this.reset(details),
      onRefused: (code) => handlers.onRefused(code),
      backoffMs: handlers.backoffMs,
    });
  }

  /** The last event that was handled. @returns {Position} */
  get position() {
    return this.#ordering.position;
  }

  /** The furthest seq that came. @returns {number} */
  get furthestSeq() {
    return this.#ordering.furthestSeq;
  }

  /** Whether nothing waits and nothing is known to be missing. @returns {boolean} */
  get isIdle() {
    return !this.#isDelivering && !this.#ordering.waiting && !this.#ordering.missing();
  }

  /** Begin to hand out, or go on after `stop()`. */
  start() {
    this.#isRunning = true;
    void this.#deliver();
  }

  /** Hand out nothing more and ask nothing more; what waits stays. */
  stop() {
    this.#isRunning = false;
    this.#environment.clearTimeout(this.#retry);
    this.#retry = null;
    this.#backfill.stop();
  }

  /** Take in what the stream or another tab brought. @param {TaskEvent} event */
  push(event) {
    if (!this.#ordering.accept(event)) this.#handlers.onCount({ duplicates: 1 });
    else void this.#deliver();
  }

  /** Somebody is at this place: what is missing up to there is read. @param {number} seq */
  reach(seq) {
    this.#ordering.reachedSeq = Math.max(this.#ordering.reachedSeq, seq);
    void this.#deliver();
  }

  /** The server has named its log. @param {string} epoch */
  meet(epoch) {
    if (this.position.epoch === null) this.#ordering.position = { ...this.position, epoch };
  }

  /** Try again at once what failed and waits. */
  hurry() {
    this.#backfill.hurry();
  }

  /**
   * The log cannot be continued from here: begin at its oldest event. What was handled and is still in the log stays handled.
   *
   * @param {ResetDetails} details
   */
  reset(details) {
    const { epoch, seq } = this.position;
    const isElsewhere = details.reason === "other_history" || (epoch !== null && epoch !== details.epoch);
    const isHere = !isElsewhere && seq >= details.oldest_seq - 1 && seq <= details.head_seq;
    if (isHere && details.reason !== "past_head") return this.meet(details.epoch);
    this.#backfill.stop();
    // An event whose handler is running counts as handled if the log has it.
    const isKept = isHere && this.#handedOut !== null && this.#handedOut.seq <= details.head_seq;
    if (!isKept) this.#generation += 1;
    if (isHere) return this.#ordering.restart(this.position);
    const before = Math.max(0, details.oldest_seq - 1);
    this.#ordering.restart({ epoch: details.epoch, seq: before, cursor: String(before), revision: null });
    this.#openGap = 0;
    this.#unreported = details;
    if (!this.#isDelivering) this.#tellReset();
    void this.#deliver();
    return undefined;
  }

  /**
   * Read everything from `expectedSeq` on over REST, and hand out what was missed.
   *
   * @param {number} expectedSeq inclusive
   * @returns {Promise<number>} how many events were missed
   */
  async recover(expectedSeq) {
    let found = 0;
    const since = Math.max(0, expectedSeq - 1);
    const isWhole = await this.#backfill.once(String(since), this.position.epoch, (events) => {
      found += events.filter((event) => this.#ordering.accept(event, true)).length;
    });
    if (!isWhole) this.#handlers.onError("backfill", `events from seq ${expectedSeq} on could not be read`);
    if (found) this.#handlers.onCount({ gapsDetected: 1, gapsRecovered: 1 });
    void this.#deliver();
    return found;
  }

  /** @param {TaskEvent[]} events */
  #take(events) {
    if (events.length) this.#ordering.follow(events[0]);
    for (const event of events) this.#ordering.accept(event, true);
    return this.#deliver();
  }

  /** Hand out what is next, until nothing is. @returns {Promise<void>} when that is so, or a handler failed */
  #deliver() {
    if (this.#retry !== null || !this.#isRunning) return Promise.resolve();
    if (!this.#isDelivering) this.#delivering = this.#run();
    return this.#delivering;
  }

  async #run() {
    this.#isDelivering = true;
    try {
      for (let event = this.#ordering.next(); event && this.#isRunning; event = this.#ordering.next()) {
        const generation = this.#generation;
        if (event !== this.#handedOut) this.#handlers.onCount({ eventsReceived: 1 });
        this.#handedOut = event;
        const pending = this.#handlers.onEvent(event);
        if (isPromise(pending)) await pending;
        this.#failures = 0;
        if (generation === this.#generation) {
          this.#ordering.handled(event);
          this.#closeGap();
          this.#handlers.onHandled(this.position);
        }
        this.#tellReset();
      }
    } catch (error) {
      this.#tellReset();
      this.#failures += 1;
      const delay = this.#handlers.backoffMs(this.#failures);
      if (this.#isRunning) this.#retry = this.#environment.setTimeout(() => this.#again(), delay);
      this.#handlers.onError("handler", error);
    } finally {
      this.#isDelivering = false;
    }
    if (this.#isRunning && this.#retry === null) this.#seek();
  }

  /** After the handler that was running: nothing of the old log is handled after a reset was reported. */
  #tellReset() {
    const details = this.#unreported;
    this.#unreported = null;
    if (details) this.#handlers.onReset(details);
  }

  #again() {
    this.#retry = null;
    void this.#deliver();
  }

  #seek() {
    if (this.#backfill.isReading) return;
    const missing = this.#ordering.missing();
    if (missing) {
      this.#count(missing);
      this.#backfill.read(missing, this.position.epoch);
    } else if (this.isIdle) {
      this.#handlers.onIdle();
    }
  }

  /** @param {Missing} missing */
  #count({ kind, lastRevision }) {
    if (kind !== "gap" || !this.isSettled || lastRevision === null || this.#openGap) return;
    this.#openGap = lastRevision;
    this.#handlers.onCount({ gapsDetected: 1 });
  }

  /** Count a gap as recovered when what was missing has been handled, from any source. */
  #closeGap() {
    if (!this.#openGap || (this.position.revision ?? 0) < this.#openGap) return;
    this.#openGap = 0;
    this.#handlers.onCount({ gapsRecovered: 1 });
  }

  /** @param {Missing} missing */
  #filled({ kind, until, lastRevision }) {
    if (kind === "behind") {
      if (this.#ordering.reachedSeq <= until) this.#ordering.reachedSeq = 0;
    } else if (lastRevision !== null && this.#ordering.has(lastRevision)) {
      if (kind === "unsure") this.#handlers.onCount({ gapsDetected: 1, gapsRecovered: 1 });
    } else {
      this.#openGap = 0;
      if (kind === "gap") this.#handlers.onError("gap_lost", `the log has no events up to revision ${lastRevision} any more`);
      this.#ordering.skip();
    }
    void this.#deliver();
  }

  /**
   * @param {Missing} missing
   * @returns {boolean} whether to try again
   */
  #unfilled({ kind, since }) {
    if (kind === "unsure") {
      // It is a question whether something is missing at all: go on without the answer.
      this.#ordering.skip();
      void this.#deliver();
      return false;
    }
    this.#handlers.onError("backfill", `events after ${since} could not be read`);
    return true;
  }
}
