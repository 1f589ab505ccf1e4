/**
 * How long an event takes from the moment it is sent by this page until it is back on its stream.
 *
 * Only what is sent and received over a connection that stayed counts: an event that was fetched later measures something else.
 */

const MOST_DELAYS = 500; // the newest ones
const MOST_WAITING = 5000; // events that were sent and have not come back yet

export class Delays {
  /** When each was sent, by event_id. @type {Map<string, number>} */
  #sent = new Map();
  /** @type {number[]} */
  #delays = [];

  /**
   * @param {string} eventId
   * @param {number} now ms, of a clock that only goes forward
   */
  sent(eventId, now) {
    if (this.#sent.size < MOST_WAITING) this.#sent.set(eventId, now);
  }

  /**
   * @param {string} eventId
   * @param {number} now
   */
  received(eventId, now) {
    const sentAt = this.#sent.get(eventId);
    if (sentAt === undefined) return;
    this.#sent.delete(eventId);
    this.#delays.push(now - sentAt);
    if (this.#delays.length > MOST_DELAYS) this.#delays.shift();
  }

  /** What is on its way does not count. */
  interrupted() {
    this.#sent.clear();
  }

  /** @returns {{count: number, median: number, slowest: number} | null} ms; null before the first */
  get summary() {
    if (!this.#delays.length) return null;
    const sorted = [...this.#delays].sort((one, two) => one - two);
    return { count: sorted.length, median: sorted[Math.floor(sorted.length / 2)], slowest: sorted[sorted.length - 1] };
  }
}
