/**
 * What a page knows of a task: its state after all events so far, its log, and the callers that wait for an event.
 *
 * Events are folded when somebody looks, many at once, so that a burst costs one look.
 *
 * @import { Task, TaskEvent } from "./state.js"
 */

import { TaskLog } from "./log.js";
import { foldTask, NEW_TASK } from "./state.js";

export class TaskRecord {
  log = new TaskLog();
  #task = NEW_TASK;
  /** Events that are not in `#task` yet. @type {TaskEvent[]} */
  #pending = [];
  /** By event_id. @type {Map<string, () => void>} */
  #awaited = new Map();

  /** The task after all events so far. @returns {Task} */
  get task() {
    if (this.#pending.length) {
      this.#task = foldTask(this.#task, this.#pending);
      this.#pending = [];
    }
    return this.#task;
  }

  /** @param {TaskEvent} event */
  add(event) {
    this.#pending.push(event);
    this.log.add(event);
    this.#awaited.get(event.eventId)?.();
    this.#awaited.delete(event.eventId);
  }

  /** Forget everything but the callers that wait. */
  clear() {
    this.log = new TaskLog();
    this.#task = NEW_TASK;
    this.#pending = [];
  }

  /**
   * Resolves when an event has come.
   *
   * @param {string} eventId
   * @returns {Promise<void>}
   */
  arrival(eventId) {
    return new Promise((resolve) => this.#awaited.set(eventId, () => resolve()));
  }
}
