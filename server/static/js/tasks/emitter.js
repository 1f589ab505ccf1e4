/**
 * Sends the events of a task, one after another at its time, over failures of the server.
 *
 * Each event brings its id, so an event whose answer was lost is sent again and stored once.
 *
 * @import { Emission } from "./sample.js"
 */

import { RequestError } from "../lib/http.js";
import { wait } from "../lib/wait.js";

const AGAIN_MS = 1000; // after a failure, at least

/**
 * @typedef {object} EmitterState
 * @property {boolean} isRunning
 * @property {number} sent and stored
 * @property {number} total
 * @property {boolean} isStuck the last try failed, and it is tried again
 */

export class Emitter {
  #post;
  #onChange;
  /** @type {EmitterState} */
  #state = { isRunning: false, sent: 0, total: 0, isStuck: false };
  /** Ends the waits of the present run. @type {AbortController | null} */
  #run = null;

  /**
   * @param {(event: Record<string, any>) => Promise<any>} post rejects with `RequestError`
   * @param {() => void} onChange
   */
  constructor(post, onChange) {
    this.#post = post;
    this.#onChange = onChange;
  }

  /** A new object at every change. @returns {EmitterState} */
  get state() {
    return this.#state;
  }

  /**
   * Send everything; what is late is sent at once.
   *
   * @param {(Emission & {event_id: string})[]} emissions in order
   * @param {{sent: number, elapsedMs: number}} [before] where an earlier run broke off, and how long ago it began
   * @returns {Promise<void>} resolves at the end and after `stop()`; rejects when the server refuses an event
   */
  async run(emissions, { sent, elapsedMs } = { sent: 0, elapsedMs: 0 }) {
    this.stop();
    const run = new AbortController();
    this.#run = run;
    const beganAt = performance.now() - elapsedMs;
    this.#set({ isRunning: true, sent, total: emissions.length, isStuck: false });
    try {
      for (const { at, ...event } of emissions.slice(sent)) {
        await wait(beganAt + at - performance.now(), run.signal);
        await this.#send(event, run.signal);
        if (run.signal.aborted) return;
        this.#set({ ...this.#state, sent: this.#state.sent + 1 });
      }
    } finally {
      if (run === this.#run) this.#set({ ...this.#state, isRunning: false, isStuck: false });
    }
  }

  /** Send nothing more. */
  stop() {
    this.#run?.abort();
    if (this.#state.isRunning) this.#set({ ...this.#state, isRunning: false, isStuck: false });
  }

  /**
   * @param {Record<string, any>} event
   * @param {AbortSignal} signal
   */
  async #send(event, signal) {
    while (!signal.aborted) {
      try {
        await this.#post(event);
        if (this.#state.isStuck && !signal.aborted) this.#set({ ...this.#state, isStuck: false });
        return;
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (!signal.aborted) this.#set({ ...this.#state, isStuck: true });
        await wait(AGAIN_MS * (1 + Math.random()), signal);
      }
    }
  }

  /** @param {EmitterState} state */
  #set(state) {
    this.#state = state;
    this.#onChange();
  }
}

/**
 * @param {unknown} error
 * @returns {boolean} whether the same request may succeed later
 */
function isPassing(error) {
  return error instanceof RequestError && (error.status === 0 || error.status === 429 || error.status >= 500);
}
