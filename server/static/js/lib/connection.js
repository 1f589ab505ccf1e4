/**
 * One EventSource from opening to the first trouble. It never reconnects: that is `stream.js`, which owns it.
 *
 * After `close()`, or after it reported trouble, it holds no timer and calls nothing.
 *
 * @import { Environment } from "./environment.js"
 *
 * @typedef {object} ConnectionHandlers
 * @property {(name: string, data: string) => void} onFrame `event` for stored events, else the control frame's name
 * @property {(reason: "network" | "silence") => void} onLost
 * @property {() => void} onRefused the browser gave up and does not say why
 */

const CONTROL_FRAMES = ["ready", "reset", "rotate", "end"];
const REFUSED = 2; // EventSource.CLOSED: the answer was no stream

export class Connection {
  /** When the server was last heard, ms since 1970. */
  heardAt;
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
    this.heardAt = environment.now();
    const source = new environment.EventSource(url);
    this.#source = source;
    source.onopen = () => this.#heard();
    source.onmessage = ({ data }) => {
      this.#heard();
      onFrame("event", data);
    };
    for (const name of CONTROL_FRAMES) {
      source.addEventListener(name, ({ data }) => {
        this.#heard();
        onFrame(name, data);
      });
    }
    source.addEventListener("keepalive", () => this.#heard());
    source.onerror = () => {
      const isRefused = source.readyState === REFUSED;
      // The browser would try again by itself without telling when: closing it leaves one owner of reconnects.
      this.close();
      if (isRefused) onRefused();
      else onLost("network");
    };
    this.#watch();
  }

  /** Whether nothing was heard for longer than the limit. @returns {boolean} */
  get isSilent() {
    return this.#environment.now() - this.heardAt >= this.#silenceMs;
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

  #heard() {
    this.heardAt = this.#environment.now();
  }

  /** One timer per connection, not one per frame: it looks at the time of the last frame when it fires. */
  #watch() {
    this.#environment.clearTimeout(this.#timer);
    const remaining = this.heardAt + this.#silenceMs - this.#environment.now();
    if (remaining > 0) {
      this.#timer = this.#environment.setTimeout(() => this.#watch(), remaining);
      return;
    }
    this.close();
    this.#onLost("silence");
  }
}
