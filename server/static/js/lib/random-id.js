/** Names that nobody else has, also where the page has no `crypto.randomUUID` because it came over plain HTTP. */

/**
 * @param {number} [bytes] of chance
 * @returns {string} two hexadecimal digits a byte
 */
export function randomId(bytes = 16) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
