/**
 * The streams of a workbench: one for the operator's queue, and one for each session that is looked at, by whichever side.
 *
 * A browser opens six connections to a server over all of its tabs, so a session that both sides look at is read once.
 *
 * @import { Message } from "./state.js"
 * @import { StreamState } from "../lib/stream-options.js"
 */

import { access } from "../lib/access.js";
import { readSessions } from "./api.js";
import { messageOf } from "./state.js";
import { EventStream } from "../lib/stream.js";

const BEGIN_AGAIN_MS = 2000; // after a failed snapshot, at least

/**
 * @typedef {object} FeedHandlers
 * @property {(name: string, message: Message) => void} onMessage
 * @property {(name: string) => void} onBegin the session is read from its beginning
 * @property {(state: StreamState) => void} onState
 */

export class SessionFeeds {
  /** @type {Map<string, EventStream>} */
  #streams = new Map();
  #handlers;

  /**
   * @param {FeedHandlers} handlers
   */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** @returns {StreamState[]} */
  get states() {
    return [...this.#streams.values()].map((stream) => stream.state);
  }

  /**
   * @param {string} name
   * @returns {StreamState | null}
   */
  stateOf(name) {
    return this.#streams.get(name)?.state ?? null;
  }

  /**
   * Follow these sessions and no others.
   *
   * @param {string[]} names
   */
  follow(names) {
    for (const [name, stream] of [...this.#streams]) {
      if (names.includes(name)) continue;
      this.#streams.delete(name);
      stream.close();
    }
    for (const name of names) if (!this.#streams.has(name)) this.#open(name);
  }

  reconnectNow() {
    for (const stream of this.#streams.values()) if (stream.state.reason !== "ended") stream.reconnectNow();
  }

  /**
   * @param {string} name
   */
  #open(name) {
    this.#handlers.onBegin(name);
    const stream = new EventStream({
      streams: [`session:${name}`],
      path: `/api/sessions/${encodeURIComponent(name)}/events`,
      allowPending: true,
      whenNew: "beginning",
      environment: { localStorage: null }, // a chat is shown whole, so there is no cursor to keep
      onEvent: (event) => this.#handlers.onMessage(name, messageOf(event)),
      onReset: () => this.#handlers.onBegin(name),
      onState: this.#handlers.onState,
    });
    this.#streams.set(name, stream);
    stream.start();
  }
}

/**
 * @typedef {object} QueueHandlers
 * @property {(waiting: Record<string, any>[], handled: Record<string, any>[], hasMore: boolean) => void} onLists
 * @property {(error: unknown) => void} onFailed it is tried again
 * @property {(message: Message) => void} onMessage
 * @property {(state: StreamState) => void} onState
 */

export class QueueFeed {
  /** @type {EventStream | null} */
  #stream = null;
  /** @type {number | undefined} */
  #timer;
  #isClosed = false;
  #agentId;
  #handlers;

  /**
   * @param {string} agentId
   * @param {QueueHandlers} handlers
   */
  constructor(agentId, handlers) {
    this.#agentId = agentId;
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
   * Read the lists, then follow what comes after them; until it works.
   */
  async begin() {
    window.clearTimeout(this.#timer);
    await access.ready();
    const start = await this.#readLists().catch((error) => void (this.#isClosed || this.#handlers.onFailed(error)));
    if (this.#isClosed || this.#stream) return;
    if (!start) {
      this.#timer = window.setTimeout(() => void this.begin(), BEGIN_AGAIN_MS * (1 + Math.random()));
      return;
    }
    this.#stream = new EventStream({
      streams: [`operator:${this.#agentId}`, "operator:queue"],
      path: `/api/operators/${encodeURIComponent(this.#agentId)}/events`,
      start,
      onEvent: (event) => this.#handlers.onMessage(messageOf(event)),
      onReset: () => this.#readLists(),
      onState: this.#handlers.onState,
    });
    this.#stream.start();
  }

  reconnectNow() {
    if (this.#stream) this.#stream.reconnectNow();
    else void this.begin();
  }

  close() {
    this.#isClosed = true;
    window.clearTimeout(this.#timer);
    this.#stream?.close();
  }

  async #readLists() {
    const [waiting, handled] = await Promise.all([readSessions("waiting_agent"), readSessions("with_operator")]);
    if (!this.#isClosed) this.#handlers.onLists(waiting.sessions, handled.sessions, waiting.has_more);
    return { epoch: waiting.epoch, seq: Math.min(waiting.head_seq, handled.head_seq) };
  }
}
