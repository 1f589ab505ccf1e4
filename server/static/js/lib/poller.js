/**
 * Reads page after page while streams do not get through. It decides only when to ask; what pages mean is `event-stream.js`.
 *
 * @import { EventPage } from "./types.js"
 * @import { Environment } from "./environment.js"
 * @import { PollOutcome } from "./poll.js"
 *
 * @typedef {object} PollerOptions
 * @property {Environment} environment
 * @property {() => string} url of the next page; called before every request
 * @property {(page: EventPage) => Promise<void>} onPage resolves when every event of the page was handled
 * @property {(isFirstAfterFailure: boolean) => void} onHealthy after each page
 * @property {(delayMs: number) => void} onUnhealthy after each request that may work later
 * @property {(outcome: Extract<PollOutcome, {kind: "ended" | "gone" | "refused"}>) => void} onVerdict nothing more to read
 * @property {(attempt: number) => number} backoffMs
 * @property {number} pollMs between two pages when the last one was the newest
 */

import { readPage } from "./poll.js";

export class Poller {
  /** Whether the last request brought a page. */
  isHealthy = false;
  #options;
  #failures = 0;
  #isStopped = false;
  #aborter = new AbortController();
  /** @type {any} */
  #timer = null;

  /** @param {PollerOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** Read the first page now, and go on until `stop()` or a verdict. */
  start() {
    void this.#read();
  }

  /** Ask no more; an answer under way is ignored. */
  stop() {
    this.#isStopped = true;
    this.#options.environment.clearTimeout(this.#timer);
    this.#aborter.abort();
  }

  async #read() {
    const { environment, url, onPage, onHealthy, onUnhealthy, onVerdict, backoffMs, pollMs } = this.#options;
    const outcome = await readPage(environment, url(), this.#aborter.signal);
    if (this.#isStopped) return;
    if (outcome.kind === "page") {
      await onPage(outcome.page);
      if (this.#isStopped) return;
      const isFirstAfterFailure = this.#failures > 0;
      this.isHealthy = true;
      this.#failures = 0;
      this.#plan(outcome.page.has_more ? 0 : pollMs);
      onHealthy(isFirstAfterFailure);
    } else if (outcome.kind === "failed" || outcome.kind === "throttled") {
      this.isHealthy = false;
      this.#failures += 1;
      const delayMs = outcome.kind === "throttled" ? outcome.retryAfterMs : 0;
      this.#plan(delayMs + backoffMs(this.#failures));
      onUnhealthy(delayMs);
    } else {
      onVerdict(outcome);
    }
  }

  /** @param {number} delayMs */
  #plan(delayMs) {
    this.#timer = this.#options.environment.setTimeout(() => void this.#read(), delayMs);
  }
}
