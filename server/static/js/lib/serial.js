/**
 * Tasks that run strictly one after another, in the same turn as long as they are synchronous.
 *
 * This keeps the order of events when a handler is asynchronous. The first failure drops everything that waits, because
 * nothing received after a failed event may overtake it.
 *
 * @typedef {() => void | Promise<void>} Task
 */

/**
 * @param {unknown} value what a handler returned
 * @returns {value is Promise<any>}
 */
export function isPromise(value) {
  return typeof (/** @type {any} */ (value)?.then) === "function";
}

export class SerialQueue {
  /** @type {Task[]} */
  #tasks = [];
  #isRunning = false;
  #onError;

  /** @param {(error: unknown) => void} onError called after the waiting tasks were dropped */
  constructor(onError) {
    this.#onError = onError;
  }

  /** Run the task after all that were pushed before; at once when there are none. @param {Task} task */
  push(task) {
    this.#tasks.push(task);
    if (!this.#isRunning) void this.#run();
  }

  /** Drop what has not started. */
  clear() {
    this.#tasks.length = 0;
  }

  async #run() {
    this.#isRunning = true;
    try {
      for (let task = this.#tasks.shift(); task; task = this.#tasks.shift()) {
        const pending = task();
        if (pending) await pending;
      }
    } catch (error) {
      this.clear();
      this.#onError(error);
    } finally {
      this.#isRunning = false;
      if (this.#tasks.length) void this.#run();
    }
  }
}
