/**
 * The streams of the page: one for the operator's queue, and one for each session that is looked at, by whichever side.
 *
 * A browser opens six connections to a server over all of its tabs, so a session that both sides look at is read once.
 *
 * @import { Message } from "./state.js"
 * @import { StreamState } from "../lib/stream-options.js"
 * @import { EventStream } from "../lib/event-stream.js"
 */

import { followWhole, SnapshotFeed } from "../lib/snapshot-feed.js";
import { readSessions } from "./api.js";
import { messageOf } from "./state.js";

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

  /** @param {FeedHandlers} handlers */
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

  /** Follow these sessions and no others. @param {string[]} names */
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

  /** @param {string} name */
  #open(name) {
    const stream = followWhole({
      stream: `session:${name}`,
      path: `/api/sessions/${encodeURIComponent(name)}/events`,
      onBegin: () => this.#handlers.onBegin(name),
      onEvent: (event) => this.#handlers.onMessage(name, messageOf(event)),
      onState: this.#handlers.onState,
    });
    this.#streams.set(name, stream);
  }
}

/**
 * What waits and what is taken over, from the lists on.
 *
 * @param {string} agentId
 * @param {object} handlers
 * @param {(waiting: Record<string, any>[], handled: Record<string, any>[], hasMore: boolean) => void} handlers.onLists
 * @param {(error: unknown) => void} handlers.onFailed
 * @param {(message: Message) => void} handlers.onMessage
 * @param {(state: StreamState) => void} handlers.onState
 * @returns {SnapshotFeed<any>}
 */
export function queueFeed(agentId, { onLists, onFailed, onMessage, onState }) {
  return new SnapshotFeed({
    read: () => Promise.all([readSessions("waiting_agent"), readSessions("with_operator")]),
    onSnapshot([waiting, handled]) {
      onLists(waiting.sessions, handled.sessions, waiting.has_more);
      return { epoch: waiting.epoch, id: String(Math.min(waiting.head_seq, handled.head_seq)) };
    },
    onFailed,
    stream: {
      streams: [`operator:${agentId}`, "operator:queue"],
      path: `/api/operators/${encodeURIComponent(agentId)}/events`,
      onEvent: (event) => onMessage(messageOf(event)),
      onState,
    },
  });
}
