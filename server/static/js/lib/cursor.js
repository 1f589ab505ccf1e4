/**
 * The cursor of one selection of streams, kept in localStorage over visits.
 *
 * It only moves forward within an epoch, and is stored at every move. A storage that is full, blocked or holds nonsense
 * is never an error: the cursor then lives as long as the page.
 *
 * @import { Cursor } from "./types.js"
 * @import { Environment } from "./environment.js"
 */

const PREFIX = "towow.cursor:";

/**
 * The storage key of a selection; the same streams and types in another order are the same selection.
 *
 * @param {string[]} streams names or patterns
 * @param {string[]} [types] globs over event types
 * @returns {string}
 */
export function selectionKey(streams, types = []) {
  return PREFIX + [...streams].sort().join(",") + (types.length ? `|${[...types].sort().join(",")}` : "");
}

/**
 * The stored cursor, or null when there is none that can be trusted.
 *
 * @param {Environment["localStorage"]} storage
 * @param {string} key from `selectionKey`
 * @returns {Cursor | null}
 */
export function loadCursor(storage, key) {
  try {
    const value = JSON.parse(storage?.getItem(key) ?? "null");
    const isCursor = value && typeof value.epoch === "string" && Number.isSafeInteger(value.seq) && value.seq >= 0;
    return isCursor ? { epoch: value.epoch, seq: value.seq } : null;
  } catch {
    return null;
  }
}

export class StoredCursor {
  #storage;
  #key;
  /** @type {Cursor | null} */
  #value;

  /**
   * @param {Environment["localStorage"]} storage
   * @param {string} key from `selectionKey`
   * @param {Cursor | null} [start] wins over what is stored; stored by the first move
   */
  constructor(storage, key, start = null) {
    this.#storage = storage;
    this.#key = key;
    this.#value = start ? { ...start } : loadCursor(storage, key);
  }

  /** A copy; null while nothing is known. @returns {Cursor | null} */
  get value() {
    return this.#value && { ...this.#value };
  }

  /**
   * Whether an event was handled before.
   *
   * @param {number} seq
   * @returns {boolean}
   */
  covers(seq) {
    return this.#value !== null && seq <= this.#value.seq;
  }

  /** Move forward; a seq that is covered changes nothing. @param {number} seq */
  advance(seq) {
    if (!this.covers(seq)) this.replace({ epoch: this.#value?.epoch ?? null, seq });
  }

  /**
   * Move anywhere, also back or to another epoch. Without an epoch it is kept but not stored: it would be good in any
   * log, so in none.
   *
   * @param {Cursor} cursor
   */
  replace(cursor) {
    this.#value = { epoch: cursor.epoch, seq: cursor.seq };
    if (!cursor.epoch) return;
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(this.#value));
    } catch {
      // A full or blocked storage costs a longer replay at the next visit, nothing else.
    }
  }
}
