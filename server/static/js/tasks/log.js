/**
 * What a page shows of a task's history: events and the page's own remarks between them, in the order in which they came.
 *
 * It holds the newest ones only, so that a page which is left open does not grow without end.
 *
 * @import { TaskEvent } from "./state.js"
 *
 * @typedef {object} LogEntry
 * @property {number} id rises by one with each entry
 * @property {TaskEvent | null} event null for a remark
 * @property {string} remark key of its text; empty for an event
 * @property {Record<string, string | number>} values for the places of the text
 */

const MOST_ENTRIES = 20_000;
const SLACK = 2000; // entries above the limit before old ones are let go, so that it is seldom done

export class TaskLog {
  /** @type {LogEntry[]} */
  #entries = [];
  #nextId = 1;
  #events = 0;
  #most;
  #slack;

  /**
   * @param {number} [most] entries
   * @param {number} [slack]
   */
  constructor(most = MOST_ENTRIES, slack = SLACK) {
    this.#most = most;
    this.#slack = slack;
  }

  /** Oldest first. @returns {readonly LogEntry[]} */
  get entries() {
    return this.#entries;
  }

  /** How many events came in all, also those that are let go. @returns {number} */
  get events() {
    return this.#events;
  }

  /** @param {TaskEvent} event */
  add(event) {
    this.#events += 1;
    this.#push({ id: this.#nextId++, event, remark: "", values: {} });
  }

  /**
   * @param {string} remark key of its text
   * @param {Record<string, string | number>} [values]
   */
  say(remark, values = {}) {
    this.#push({ id: this.#nextId++, event: null, remark, values });
  }

  /** @param {LogEntry} entry */
  #push(entry) {
    this.#entries.push(entry);
    if (this.#entries.length > this.#most + this.#slack) this.#entries = this.#entries.slice(-this.#most);
  }
}
