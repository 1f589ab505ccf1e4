/**
 * The list of runs, from its snapshot on: pages when they are asked for, and one stream of what begins and ends.
 *
 * @import { PastRuns } from "./list-state.js"
 * @import { StreamState } from "../lib/stream-options.js"
 */

import { access } from "../lib/access.js";
import { RequestError } from "../lib/http.js";
import { foldRuns, LIST_EVENTS, NO_RUNS, withPage } from "./list-state.js";
import { EventStream } from "../lib/stream.js";
import { readRuns } from "./api.js";

const BEGIN_AGAIN_MS = 2000; // after a failed snapshot, at least

/**
 * @typedef {object} PastHandlers
 * @property {(past: PastRuns) => void} onRuns after every change
 * @property {(error: unknown) => void} onFailed it is tried again unless the server refused
 * @property {(model: Record<string, any>) => void} onModel what the list says of it
 * @property {(state: StreamState) => void} onState
 */

export class PastFeed {
  /** @type {EventStream | null} */
  #stream = null;
  /** @type {number | undefined} */
  #timer;
  #past = NO_RUNS;
  #handlers;

  /**
   * @param {PastHandlers} handlers
   */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** @returns {StreamState | null} */
  get state() {
    return this.#stream?.state ?? null;
  }

  /** @returns {number} the last event that is shown */
  get seq() {
    return this.#stream?.cursor?.seq ?? 0;
  }

  /**
   * Read the newest runs, then follow what comes after them; until it works.
   */
  async begin() {
    window.clearTimeout(this.#timer);
    await access.ready();
    if (this.#stream) return;
    let start;
    try {
      start = await this.#read();
    } catch (error) {
      this.#handlers.onFailed(error);
      const isRefused = error instanceof RequestError && error.status === 403;
      if (!isRefused) this.#timer = window.setTimeout(() => void this.begin(), BEGIN_AGAIN_MS * (1 + Math.random()));
      return;
    }
    if (this.#stream) return;
    this.#stream = new EventStream({
      streams: ["run:*"],
      types: LIST_EVENTS,
      start,
      environment: { localStorage: null }, // the snapshot says where to go on, so there is no cursor to keep
      onEvent: (event) => this.#tell(foldRuns(this.#past, event)),
      onReset: () => {
        this.#past = NO_RUNS;
        return this.#read();
      },
      onState: this.#handlers.onState,
    });
    this.#stream.start();
  }

  /**
   * @returns {Promise<void>} rejects when they could not be read
   */
  async older() {
    this.#tell(withPage(this.#past, await readRuns(this.#past.oldestSeq)));
  }

  reconnectNow() {
    if (this.#stream) this.#stream.reconnectNow();
    else void this.begin();
  }

  async #read() {
    const page = await readRuns();
    this.#tell(withPage(this.#past, page));
    this.#handlers.onModel(page.model);
    return { epoch: page.epoch, seq: page.head_seq };
  }

  /**
   * @param {PastRuns} past
   */
  #tell(past) {
    if (past === this.#past) return;
    this.#past = past;
    this.#handlers.onRuns(past);
  }
}
