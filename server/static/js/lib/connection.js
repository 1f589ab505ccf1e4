/**
 * One EventSource from opening to the first trouble. It never reconnects: that is `event-stream.js`, which owns it.
 *
 * After `close()`, or after it reported trouble, it holds no timer and calls nothing.
 *
 * @import { Environment } from "./environment.js"
 *
 * @typedef {object} ConnectionHandlers
 * @property {(name: string, data: string, id: string) => void} onFrame `event` for stored events, else the control frame's name;
 *   `id` is the newest that came, as the browser keeps it
 * @property {(reason: "network" | "silence") => void} onLost
 * @property {() => void} onRefused the browser gave up without a reason
 */

const CONTROL_FRAMES = ["ready", "reset", "rotate", "end"];
const REFUSED = 2; // EventSource.CLOSED: the answer was no stream

export class Connection {
  /** When the last frame came, ms since 1970. */
  receivedAt;
  #environment;
  #source;
  #silenceMs;
  #onLost;
  /** @type {any} */
  #timer = null;

  /**
   * @param {Environment} environment
   * @param {string} url
   * @param {number} silenceMs without any frame, after which the connection counts as dead
   * @param {ConnectionHandlers} handlers
   */
  constructor(environment, url, silenceMs, { onFrame, onLost, onRefused }) {
    this.#environment = environment;
    this.#silenceMs = silenceMs;
    this.#onLost = onLost;
    this.receivedAt = environment.now();
    const source = new environment.EventSource(url);
    this.#source = source;
    source.onopen = () => this.#received();
    source.onmessage = ({ data, lastEventId }) => {
      this.#received();
      onFrame("event", data, lastEventId);
    };
    for (const name of CONTROL_FRAMES) {
      source.addEventListener(name, ({ data, lastEventId }) => {
        this.#received();
        onFrame(name, data, lastEventId);
      });
    }
    source.addEventListener("keepalive", () => this.#received());
    source.onerror = () => {
      const isRefused = source.readyState === REFUSED;
      // The browser would try again by itself without telling when: closing it leaves one owner of reconnects.
      this.close();
      if (isRefused) onRefused();
      else onLost("network");
    };
    this.#watch();
  }

  /** Whether no frame came for longer than the limit. @returns {boolean} */
  get isSilent() {
    return this.#environment.now() - this.receivedAt >= this.#silenceMs;
  }

  /** @param {number} silenceMs that the server's own keepalive asks for */
  allowSilence(silenceMs) {
    this.#silenceMs = silenceMs;
    this.#watch();
  }

  /** End it; no handler is called any more. */
  close() {
    this.#environment.clearTimeout(this.#timer);
    this.#source.onmessage = null;
    this.#source.onerror = null;
    this.#source.onopen = null;
    this.#source.close();
  }

  #received() {
    this.receivedAt = this.#environment.now();
  }

  /** One timer per connection, not one per frame: it looks at the time of the last frame when it fires. */
  #watch() {
    this.#environment.clearTimeout(this.#timer);
    const remaining = this.receivedAt + this.#silenceMs - this.#environment.now();
    if (remaining > 0) {
      this.#timer = this.#environment.setTimeout(() => this.#watch(), remaining);
      return;
    }
    this.close();
    this.#onLost("silence");
  }
}
