/**
 * One run, from its snapshot on: the state so far, then the stream from exactly there, so that nothing is lost or doubled.
 *
 * @import { Run } from "./types.js"
 * @import { StreamState } from "../lib/stream-options.js"
 */

import { access } from "../lib/access.js";
import { RequestError } from "../lib/http.js";
import { foldRun, runEventOf, runOf } from "./state.js";
import { EventStream } from "../lib/stream.js";
import { readRun, runPath } from "./api.js";

const BEGIN_AGAIN_MS = 2000; // after a failed snapshot, at least

/**
 * @typedef {object} RunHandlers
 * @property {(run: Run) => void} onRun after every change
 * @property {(error: unknown) => void} onFailed it could not be read; it is tried again unless the server refused
 * @property {(state: StreamState) => void} onState
 */

export class RunFeed {
  /** @type {EventStream | null} */
  #stream = null;
  /** @type {number | undefined} */
  #timer;
  #isClosed = false;
  /** @type {Run | null} */
  #run = null;
  #id;
  #handlers;

  /**
   * @param {string} id
   * @param {RunHandlers} handlers
   */
  constructor(id, handlers) {
    this.#id = id;
    this.#handlers = handlers;
  }

  /** @returns {StreamState | null} */
  get state() {
    return this.#stream?.state ?? null;
  }

  /**
   * Read the run, and follow it unless it has ended; until it works.
   */
  async begin() {
    window.clearTimeout(this.#timer);
    await access.ready();
    if (this.#isClosed || this.#stream) return;
    let start;
    try {
      start = await this.#read();
    } catch (error) {
      if (this.#isClosed) return;
      this.#handlers.onFailed(error);
      const isRefused = error instanceof RequestError && [400, 403, 404, 410].includes(error.status);
      if (!isRefused) this.#timer = window.setTimeout(() => void this.begin(), BEGIN_AGAIN_MS * (1 + Math.random()));
      return;
    }
    if (this.#isClosed || this.#stream || this.#run?.status !== "running") return;
    this.#stream = new EventStream({
      streams: [`run:${this.#id}`],
      path: `${runPath(this.#id)}/events`,
      start,
      environment: { localStorage: null }, // the snapshot says where to go on, so there is no cursor to keep
      onEvent: (event) => this.#tell(foldRun(/** @type {Run} */ (this.#run), runEventOf(event))),
      onReset: () => this.#read(),
      onState: this.#handlers.onState,
    });
    this.#stream.start();
  }

  reconnectNow() {
    if (!this.#stream) void this.begin();
    else if (this.#stream.state.reason !== "ended") this.#stream.reconnectNow();
  }

  close() {
    this.#isClosed = true;
    window.clearTimeout(this.#timer);
    this.#stream?.close();
  }

  async #read() {
    const told = await readRun(this.#id);
    this.#tell(runOf(told));
    return { epoch: told.epoch ?? null, seq: told.last_seq };
  }

  /**
   * @param {Run} run
   */
  #tell(run) {
    if (this.#isClosed) return;
    this.#run = run;
    this.#handlers.onRun(run);
  }
}
