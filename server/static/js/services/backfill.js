/**
 * Reads over REST what is missing, page after page, one hole at a time, and tries again what may work later.
 *
 * @import { Environment } from "../lib/environment.js"
 * @import { PollOutcome, ResetDetails } from "../lib/poll.js"
 * @import { Missing } from "./ordering.js"
 *
 * @typedef {object} BackfillHandlers
 * @property {(events: any[]) => void | Promise<void>} onEvents
 * @property {(epoch: string) => void} onEpoch
 * @property {(missing: Missing) => void} onDone all that the log has was read
 * @property {(missing: Missing) => boolean} onFailed whether to try again
 * @property {(details: ResetDetails) => void} onGone
 * @property {(code: string) => void} onRefused
 * @property {(attempt: number) => number} backoffMs
 */

import { isAfter } from "../lib/cursor.js";
import { readPage } from "../lib/poll.js";

const LIMIT = 500; // events per page

export class Backfill {
  #environment;
  #url;
  #handlers;
  #failures = 0;
  /** @type {Missing | null} */
  #missing = null;
  /** @type {string | null} */
  #epoch = null;
  /** @type {any} */
  #timer = null;
  #life = new AbortController();

  /**
   * @param {Environment} environment
   * @param {string} url of the task's events
   * @param {BackfillHandlers} handlers
   */
  constructor(environment, url, handlers) {
    this.#environment = environment;
    this.#url = url;
    this.#handlers = handlers;
  }

  /** Whether something is being read, or waits for its turn after a failure. @returns {boolean} */
  get isReading() {
    return this.#missing !== null;
  }

  /**
   * Read what is missing; the caller reads again after `onDone` where it has to.
   *
   * @param {Missing} missing
   * @param {string | null} epoch of the log that the cursor is from
   */
  read(missing, epoch) {
    this.#missing = missing;
    this.#epoch = epoch;
    void this.#run(missing, this.#life.signal);
  }

  /**
   * Read everything after a seq, once, whatever else is read; failures end it.
   *
   * @param {string} since exclusive, a cursor
   * @param {string | null} epoch
   * @param {(events: any[]) => void} onEvents
   * @returns {Promise<boolean>} whether all was read
   */
  async once(since, epoch, onEvents) {
    this.#epoch = epoch;
    return (await this.#pages(since, null, onEvents, this.#life.signal)) === null;
  }

  /** Do at once what waits for its turn. */
  hurry() {
    if (this.#timer !== null) this.#again();
  }

  /** Forget what is being read. */
  stop() {
    this.#life.abort();
    this.#life = new AbortController();
    this.#environment.clearTimeout(this.#timer);
    this.#timer = null;
    this.#missing = null;
    this.#failures = 0;
  }

  /**
   * @param {Missing} missing
   * @param {AbortSignal} signal
   */
  async #run(missing, signal) {
    const outcome = await this.#pages(missing.since, missing.until, this.#handlers.onEvents, signal);
    if (signal.aborted) return;
    if (outcome === null) {
      this.#missing = null;
      this.#failures = 0;
      this.#handlers.onDone(missing);
    } else if (outcome.kind === "gone") {
      this.#missing = null;
      this.#handlers.onGone(outcome.details);
    } else if (outcome.kind === "refused") {
      this.#missing = null;
      this.#handlers.onRefused(outcome.code);
    } else {
      this.#plan(missing, outcome.kind === "throttled" ? outcome.retryAfterMs : 0, signal);
    }
  }

  /**
   * @param {Missing} missing
   * @param {number} leastMs
   * @param {AbortSignal} signal
   */
  #plan(missing, leastMs, signal) {
    this.#missing = null;
    if (!this.#handlers.onFailed(missing) || signal.aborted) return;
    this.#failures += 1;
    this.#missing = missing;
    this.#timer = this.#environment.setTimeout(() => this.#again(), leastMs + this.#handlers.backoffMs(this.#failures));
  }

  #again() {
    this.#environment.clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#missing) void this.#run(this.#missing, this.#life.signal);
  }

  /**
   * @param {string} since exclusive, a cursor
   * @param {number | null} until inclusive
   * @param {(events: any[]) => void | Promise<void>} onEvents
   * @param {AbortSignal} signal
   * @returns {Promise<Exclude<PollOutcome, {kind: "page" | "ended"}> | null>} why it broke off; null when all was read
   */
  async #pages(since, until, onEvents, signal) {
    for (let cursor = since; ; ) {
      const outcome = await readPage(this.#environment, this.#pageUrl(cursor, until), signal);
      if (signal.aborted || outcome.kind === "ended") return null;
      if (outcome.kind !== "page") return outcome;
      const { events, epoch, has_more, next_cursor } = outcome.page;
      if (this.#epoch !== null && epoch !== this.#epoch) {
        const { head_seq } = outcome.page;
        return { kind: "gone", details: { reason: "other_epoch", oldest_seq: 1, head_seq, epoch } };
      }
      this.#epoch = epoch;
      this.#handlers.onEpoch(epoch);
      await onEvents(events);
      if (signal.aborted || !has_more || !isAfter(next_cursor, cursor)) return null;
      cursor = next_cursor;
    }
  }

  /**
   * @param {string} since exclusive, a cursor
   * @param {number | null} until inclusive
   */
  #pageUrl(since, until) {
    const query = new URLSearchParams({ since_seq: since, limit: String(LIMIT) });
    if (until !== null) query.set("until_seq", String(until));
    if (this.#epoch !== null) query.set("epoch", this.#epoch);
    return `${this.#url}?${query}`;
  }
}
