/**
 * Cursors: what they mean, and the one of a selection of streams, kept in localStorage over visits.
 *
 * A cursor's id is text, sent back as the server gave it: `<seq>.<check>` proves the history that it is of, and a number would
 * lose both. Only its order is known here. The cursor of a selection only moves forward within an epoch, and is stored at every move. A storage that is full, blocked or holds nonsense
 * is never an error: the cursor then lives as long as the page.
 *
 * @import { Cursor } from "./types.js"
 * @import { Environment } from "./environment.js"
 */

const PREFIX = "towow.cursor:";
const ID = /^\d{1,19}(\.[1-9]{6})?$/;

/**
 * Whether a value is the id of a cursor.
 *
 * @param {unknown} value
 * @returns {value is string}
 */
export function isCursorId(value) {
  return typeof value === "string" && ID.test(value);
}

/**
 * The digits of the seq in a cursor's id, to show them.
 *
 * @param {string} id
 * @returns {string}
 */
export function seqDigits(id) {
  return id.split(".")[0].replace(/^0+(?=\d)/, "");
}

/**
 * Whether a cursor's id is after another one (empty: before all), by their seqs; digits are compared, because a number cannot
 * hold all of them.
 *
 * @param {string} id
 * @param {string} other
 * @returns {boolean}
 */
export function isAfter(id, other) {
  const [seq, otherSeq] = [seqDigits(id), seqDigits(other)];
  return seq.length === otherSeq.length ? seq > otherSeq : seq.length > otherSeq.length;
}

/**
 * An event with its place, `cursor`: the id that it came with; else its seq, where a number holds it, and else nothing.
 *
 * @template {{seq: number}} Event
 * @param {Event} event
 * @param {string} [id]
 * @returns {Event & {cursor: string | null}}
 */
export function placed(event, id) {
  const seq = Number.isSafeInteger(event.seq) ? String(event.seq) : null;
  return { ...event, cursor: isCursorId(id) ? id : seq };
}

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
    const id = value?.id ?? String(value?.seq); // earlier visits kept a seq
    return typeof value?.epoch === "string" && isCursorId(id) ? { epoch: value.epoch, id } : null;
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
   * @param {string} id of the cursor after it
   * @returns {boolean}
   */
  covers(id) {
    return this.#value !== null && !isAfter(id, this.#value.id);
  }

  /** Move forward; a place that is covered changes nothing. @param {string} id */
  advance(id) {
    if (!this.covers(id)) this.replace({ epoch: this.#value?.epoch ?? null, id });
  }

  /**
   * Move anywhere, also back or to another epoch. Without an epoch it is kept but not stored: it would be good in any
   * log, so in none.
   *
   * @param {Cursor} cursor
   */
  replace(cursor) {
    this.#value = { epoch: cursor.epoch, id: cursor.id };
    if (!cursor.epoch) return;
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(this.#value));
    } catch {
      // A full or blocked storage costs a longer replay at the next visit, nothing else.
    }
  }
}
