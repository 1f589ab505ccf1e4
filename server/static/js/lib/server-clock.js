/** The server's clock as far as its answers have it, so that a countdown is right on a machine whose own clock is not. */

const BELIEVED_MS = 2500; // the header has whole seconds and answers take time: less of a difference is none

let offsetMs = 0;

/**
 * Learn from an answer.
 *
 * @param {string | null} date the Date header
 * @param {number} now ms since 1970 by this machine
 */
export function learnServerTime(date, now) {
  const difference = Date.parse(date ?? "") - now;
  if (!Number.isNaN(difference)) offsetMs = Math.abs(difference) < BELIEVED_MS ? 0 : difference;
}

/** @returns {number} ms since 1970 by the server */
export function serverNow() {
  return Date.now() + offsetMs;
}
