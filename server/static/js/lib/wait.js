/** A pause that can be ended early. */

/**
 * @param {number} milliseconds nothing is waited for when it is not positive
 * @param {AbortSignal} signal ends it early
 * @returns {Promise<void>}
 */
export function wait(milliseconds, signal) {
  if (milliseconds <= 0 || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}
