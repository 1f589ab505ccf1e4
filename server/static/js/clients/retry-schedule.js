/**
 * When to connect again after an interruption: 1, 2, 4, 8, 16 times a delay, then no more. One timer at most.
 *
 * @import { Environment } from "../lib/environment.js"
 */

/**
 * The delay before an attempt, without jitter.
 *
 * @param {number} attempt from 1
 * @param {number} firstMs
 * @returns {number} milliseconds
 */
export function delayBefore(attempt, firstMs) {
  return firstMs * 2 ** (attempt - 1);
}

/**
 * @typedef {object} Policy
 * @property {number} attempts in a row, before it gives up
 * @property {number} firstMs the delay before the first one
 * @property {number} jitter 0 to 1: up to this share of the delay is added at random, so that not all come back at once
 */

export class Reconnector {
  /** How many attempts were planned in a row. */
  attempts = 0;
  #environment;
  #policy;
  #connect;
  #giveUp;
  /** @type {any} */
  #timer = null;

  /**
   * @param {Pick<Environment, "setTimeout" | "clearTimeout" | "random">} environment
   * @param {() => Policy} policy read at every interruption
   * @param {() => void} connect
   * @param {() => void} giveUp called once, when no attempt is left
   */
  constructor(environment, policy, connect, giveUp) {
    this.#environment = environment;
    this.#policy = policy;
    this.#connect = connect;
    this.#giveUp = giveUp;
  }

  /**
   * Plan the next attempt after an interruption; a planned one is replaced.
   *
   * @param {number} [leastMs] that the server wants to be waited for
   */
  plan(leastMs = 0) {
    this.cancel();
    const { attempts, firstMs, jitter } = this.#policy();
    if (this.attempts >= attempts) {
      this.#giveUp();
      return;
    }
    this.attempts += 1;
    const delay = leastMs + delayBefore(this.attempts, firstMs) * (1 + jitter * this.#environment.random());
    this.#timer = this.#environment.setTimeout(() => {
      this.#timer = null;
      this.#connect();
    }, delay);
  }

  /** Forget the planned attempt. */
  cancel() {
    this.#environment.clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** All is well: the next interruption begins with the first delay again. */
  succeeded() {
    this.cancel();
    this.attempts = 0;
  }
}
