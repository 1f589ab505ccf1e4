/**
 * A text that grows at its end, as a value: the longer one costs what was added, and the shorter one stays as it is.
 *
 * Texts that have grown from each other share one list of pieces, of which each knows how many are its own. Whoever shows a
 * text asks only for what came since.
 */

export class GrowingText {
  #pieces;
  #count;

  /** @param {string} [text] to begin with */
  constructor(text = "") {
    /** @type {string[]} */
    this.#pieces = text ? [text] : [];
    this.#count = this.#pieces.length;
    /** Unicode characters, as the server counts them. */
    this.characters = charactersIn(text);
  }

  /** @returns {boolean} */
  get isEmpty() {
    return this.#count === 0;
  }

  /**
   * @param {string} piece
   * @returns {GrowingText} this text and a piece more
   */
  plus(piece) {
    if (!piece) return this;
    const longer = new GrowingText();
    // Only the longest of them may grow the list; what grows from an empty text begins one of its own.
    const isLongest = this.#count > 0 && this.#count === this.#pieces.length;
    longer.#pieces = isLongest ? this.#pieces : this.#pieces.slice(0, this.#count);
    longer.#count = longer.#pieces.push(piece);
    longer.characters = this.characters + charactersIn(piece);
    return longer;
  }

  /**
   * Whether this is the other text, or that one grown.
   *
   * @param {GrowingText} other
   * @returns {boolean}
   */
  continues(other) {
    return other.isEmpty || (this.#pieces === other.#pieces && this.#count >= other.#count);
  }

  /**
   * What was added since; all of it to a text that this one does not continue.
   *
   * @param {GrowingText} other
   * @returns {string}
   */
  since(other) {
    return this.#pieces.slice(this.continues(other) ? other.#count : 0, this.#count).join("");
  }

  toString() {
    return this.#pieces.slice(0, this.#count).join("");
  }
}

export const NO_TEXT = new GrowingText();

/**
 * @param {string} text
 * @returns {number}
 */
function charactersIn(text) {
  let count = text.length;
  for (let i = 0; i < text.length - 1; i += 1) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) count -= 1;
  }
  return count;
}
