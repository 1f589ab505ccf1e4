/**
 * Server-Sent Events out of a body that is read piece by piece, for streams that a POST brings: an `EventSource` only asks GET.
 *
 * @typedef {object} Frame
 * @property {string} name of the event; `event` when it has none
 * @property {string} data
 * @property {string} id the newest that came; empty before the first
 */

export class FrameReader {
  #rest = "";
  #isFirst = true;
  #name = "";
  #id = "";
  /** @type {string[]} */
  #data = [];

  /**
   * Take the next piece of text.
   *
   * @param {string} text of any length, cut anywhere
   * @returns {Frame[]} what is whole with it
   */
  push(text) {
    const given = this.#isFirst ? text.replace(/^\uFEFF/, "") : text;
    if (text) this.#isFirst = false;
    // A carriage return at the end may be half of a line end.
    const lines = (this.#rest + given).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#line(line));
  }

  /**
   * @param {string} line without its end
   * @returns {Frame[]}
   */
  #line(line) {
    if (line === "") return this.#whole();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id") this.#id = value;
    return [];
  }

  #whole() {
    const frame = { name: this.#name || "event", data: this.#data.join("\n"), id: this.#id };
    const isEmpty = this.#data.length === 0;
    this.#name = "";
    this.#data = [];
    return isEmpty ? [] : [frame];
  }
}

/**
 * The JSON of a frame; a text that is none is logged.
 *
 * @param {string} text
 * @returns {any} undefined for what is no JSON
 */
export function parseFrame(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    console.error("SSEClient: a frame that is no JSON", error);
    return undefined;
  }
}
