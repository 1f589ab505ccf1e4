/**
 * One task as it is watched: its stream, what was before, the state that follows, and the log of both.
 *
 * The stream begins after the last event that an earlier visit handled; what came before that is read as pages, so that the
 * task is shown whole and each event comes over the stream once in all visits.
 *
 * @import { StreamState } from "../lib/stream-options.js"
 * @import { ServiceState, Stats } from "../services/options.js"
 * @import { TaskLog } from "./log.js"
 * @import { Task, TaskEvent } from "./state.js"
 */

import { readStorage } from "../lib/environment.js";
import { readUntilItWorks } from "../lib/snapshot-feed.js";
import { EventStreamService } from "../services/EventStreamService.js";
import { SavedPosition } from "../services/saved-position.js";
import { readHistory } from "./api.js";
import { Delays } from "./delays.js";
import { TaskRecord } from "./record.js";
import { taskEventOf } from "./state.js";

/**
 * @typedef {object} WatchHandlers
 * @property {() => void} onChange something else is to be seen
 * @property {(state: StreamState) => void} onState
 */

export class TaskWatch {
  taskId;
  delays = new Delays();
  /** Whether the next event of the stream is thrown away. */
  isArmed = false;
  #isOffline = false;
  #handlers;
  #service;
  #record = new TaskRecord();
  #gaps = 0;
  /** @type {StreamState} */
  #state = { name: "connecting", attempt: 0, nextTryAt: null, reason: null };
  #reason = "";
  #stopping = new AbortController();
  /** Whether what was before is here. */
  #isReady = false;

  /**
   * @param {string} taskId
   * @param {WatchHandlers} handlers
   */
  constructor(taskId, handlers) {
    this.taskId = taskId;
    this.#handlers = handlers;
    this.#service = new EventStreamService(taskId, {
      storage: true,
      filter: (event) => this.#letPass(taskEventOf(event)),
      onEvent: (event) => this.#take(taskEventOf(event)),
      onStateChange: (state) => this.#changed(state),
      onError: ({ code }) => {
        this.#reason = code;
      },
      onReset: () => this.#begin("remark.reset"),
      onEnd: () => {
        this.#reason = "ended";
        if (this.#service.state === "closed") this.#changed("closed");
      },
    });
  }

  /** The task after all events so far. @returns {Task} */
  get task() {
    return this.#record.task;
  }

  /** @returns {TaskLog} */
  get log() {
    return this.#record.log;
  }

  /** The state of the stream; a new object at every change. @returns {StreamState} */
  get state() {
    return this.#state;
  }

  /** What the service calls it, while this page does not pretend to have no network. @returns {ServiceState} */
  get serviceState() {
    return this.#isOffline ? "offline" : this.#service.state;
  }

  /** Whether this page pretends to have no network. @returns {boolean} */
  get isOffline() {
    return this.#isOffline;
  }

  /** How long the present pause is, in milliseconds. @returns {number} */
  get reconnectDelay() {
    return this.#service.currentReconnectDelay;
  }

  /** @returns {Stats} */
  get stats() {
    return this.#service.getStats();
  }

  /** Read what was before, then follow. */
  async start() {
    const seq = new SavedPosition(readStorage(), "", this.taskId).load()?.seq ?? 0;
    if (seq > 0) await readUntilItWorks(() => this.#readBefore(seq), this.#stopping.signal);
    this.#isReady = true;
    if (!this.#stopping.signal.aborted && !this.#isOffline) this.#service.start();
  }

  stop() {
    this.#stopping.abort();
    this.#service.stop();
  }

  reconnectNow() {
    if (this.#isOffline) return this.setOffline(false);
    if (this.#stopping.signal.aborted || !this.#isReady) return;
    this.#service.stop();
    this.#service.start();
  }

  /**
   * Resolves when an event has come.
   *
   * @param {string} eventId
   * @returns {Promise<void>}
   */
  arrival(eventId) {
    return this.#record.arrival(eventId);
  }

  /**
   * Leave the stream as if there were no network, or come back. Another tab that watches the task then takes the connection.
   *
   * @param {boolean} isOffline
   */
  setOffline(isOffline) {
    this.#isOffline = isOffline;
    this.log.say(isOffline ? "remark.offline" : "remark.online");
    if (isOffline) this.#service.stop();
    else if (this.#isReady) this.#service.start();
    this.#changed(this.#service.state);
  }

  /** @param {number} seq inclusive */
  async #readBefore(seq) {
    this.#begin("");
    for await (const events of readHistory(this.taskId, seq)) {
      if (this.#stopping.signal.aborted) return;
      for (const event of events) this.#record.add(taskEventOf(event));
      this.#handlers.onChange();
    }
    this.log.say("remark.resumed", { revision: String(this.task.events) });
  }

  /** Forget what is shown. @param {string} remark empty for none */
  #begin(remark) {
    this.#record.clear();
    if (remark) this.log.say(remark);
    this.#handlers.onChange();
  }

  /**
   * @param {TaskEvent} event
   * @returns {boolean}
   */
  #letPass({ revision }) {
    if (!this.isArmed) return true;
    this.isArmed = false;
    this.log.say("remark.dropped", { revision: String(revision) });
    this.#handlers.onChange();
    return false;
  }

  /** @param {TaskEvent} event */
  #take(event) {
    const { gapsDetected } = this.stats;
    if (gapsDetected > this.#gaps) this.log.say("remark.gap");
    this.#gaps = gapsDetected;
    this.delays.received(event.eventId, performance.now());
    this.#record.add(event);
    this.#handlers.onChange();
  }

  /** @param {ServiceState} state */
  #changed(state) {
    if (state === "connected") this.#reason = "";
    else this.delays.interrupted();
    const name = this.#isOffline ? "offline" : state === "disconnected" ? "connecting" : state;
    const nextTryAt = state === "reconnecting" ? Date.now() + this.#service.currentReconnectDelay : null;
    this.#state = { name, attempt: this.#service.reconnectAttempts, nextTryAt, reason: this.#reason || null };
    this.#handlers.onState(this.#state);
  }
}
