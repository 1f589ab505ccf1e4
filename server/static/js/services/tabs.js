/**
 * One of all tabs leads: the one that holds a Web Lock. It speaks to the others on a BroadcastChannel, and when it goes, the
 * next one in the queue for the lock leads.
 *
 * A leader that sleeps (a suspended tab keeps its lock) does not answer a request, and its lock is taken. Where the browser
 * has no locks or no channels, or refuses them, each tab leads itself.
 *
 * @import { Environment } from "../lib/environment.js"
 *
 * @typedef {object} TabsHandlers
 * @property {() => void} onLead
 * @property {() => void} onDeposed another tab took the lock: follow it
 * @property {(message: any) => void} onMessage from the leader
 * @property {() => void} onRequest a tab wants to know where the leader is
 */

const ANSWER_MS = 3000; // an answer is a matter of milliseconds; a page that is only busy is back within this time
const QUIET_MS = 30_000; // then a follower asks whether the leader is still there

export class Tabs {
  isLeader = false;
  #environment;
  #name;
  #handlers;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** Ends the wait for the lock. @type {AbortController | null} */
  #waiting = null;
  /** @type {(() => void) | null} */
  #release = null;
  /** @type {any} */
  #timer = null;
  #wake = () => {
    if (this.#environment.isVisible()) this.#ask();
  };

  /**
   * @param {Environment} environment
   * @param {string} name of the lock and the channel
   * @param {TabsHandlers} handlers
   */
  constructor(environment, name, handlers) {
    this.#environment = environment;
    this.#name = name;
    this.#handlers = handlers;
  }

  /** Lead as soon as nobody else does; until then, hear the leader. */
  join() {
    const { locks, BroadcastChannel } = this.#environment;
    try {
      if (!locks || !BroadcastChannel) throw new Error("not in this browser");
      this.#channel = new BroadcastChannel(this.#name);
    } catch {
      this.isLeader = true;
      this.#handlers.onLead();
      return;
    }
    this.#channel.onmessage = ({ data }) => this.#received(data);
    this.#environment.addEventListener("visibilitychange", this.#wake);
    this.#environment.addEventListener("pageshow", this.#wake);
    this.#request(false);
    this.#ask();
  }

  /** Leave the lock and the channel to the others. */
  leave() {
    this.isLeader = false;
    this.#environment.clearTimeout(this.#timer);
    this.#environment.removeEventListener("visibilitychange", this.#wake);
    this.#environment.removeEventListener("pageshow", this.#wake);
    this.#channel?.close();
    this.#channel = null;
    this.#waiting?.abort();
    this.#waiting = null;
    this.#release?.();
    this.#release = null;
  }

  /** Say something to the followers; without a channel nobody hears. @param {any} message */
  post(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {boolean} isTaken from a leader that does not answer */
  #request(isTaken) {
    const waiting = new AbortController();
    this.#waiting = waiting;
    const isCurrent = () => this.#waiting === waiting;
    /** @type {(resolve: (value: void) => void) => void} */
    const begin = (resolve) => this.#lead(resolve);
    const lead = () => (isCurrent() ? new Promise(begin) : undefined);
    const options = isTaken ? { steal: true } : { signal: waiting.signal };
    this.#locks.request(this.#name, options, lead).catch((error) => {
      if (!isCurrent()) return;
      if (error?.name === "AbortError") this.#deposed();
      else this.#lead(() => {}); // the browser refuses locks here, so nobody has one
    });
  }

  get #locks() {
    return /** @type {Pick<LockManager, "request">} */ (this.#environment.locks);
  }

  /** @param {() => void} release */
  #lead(release) {
    this.#environment.clearTimeout(this.#timer);
    this.#release = release;
    this.isLeader = true;
    this.#handlers.onLead();
  }

  /** Another tab took the lock, maybe before this one knew that it had it. */
  #deposed() {
    this.#release = null;
    if (this.isLeader) {
      this.isLeader = false;
      this.#handlers.onDeposed();
    }
    this.#request(false);
    this.#ask();
  }

  /** @param {any} message */
  #received(message) {
    if (message?.kind === "ask") {
      if (this.isLeader) this.#handlers.onRequest();
    } else if (!this.isLeader) {
      this.#expect(QUIET_MS, () => this.#ask());
      this.#handlers.onMessage(message);
    }
  }

  /** Ask where the leader is; when it does not answer, take its place. */
  #ask() {
    if (this.isLeader) return;
    this.post({ kind: "ask" });
    this.#expect(ANSWER_MS, () => {
      this.#waiting?.abort();
      this.#request(true);
    });
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} run
   */
  #expect(milliseconds, run) {
    this.#environment.clearTimeout(this.#timer);
    this.#timer = this.#environment.setTimeout(run, milliseconds);
  }
}
