/**
 * The cursor of a task over visits, under a key of its own for each server log (epoch) and task.
 *
 * Which log a server had last is kept beside it, because a page does not know that before it has connected. A storage that is
 * full, blocked or holds nonsense is never an error.
 *
 * @import { Position } from "./ordering.js"
 */

import { isCursorId } from "../lib/cursor.js";

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem">} KeptIn */

export class SavedPosition {
  #storage;
  #baseUrl;
  #taskId;

  /**
   * @param {KeptIn | null} storage null keeps nothing
   * @param {string} baseUrl
   * @param {string} taskId
   */
  constructor(storage, baseUrl, taskId) {
    this.#storage = storage;
    this.#baseUrl = baseUrl;
    this.#taskId = taskId;
  }

  /** What was kept last, or null. @returns {Position | null} */
  load() {
    try {
      const epoch = this.#storage?.getItem(this.#epochKey) ?? null;
      if (epoch === null) return null;
      const { seq, cursor, revision } = JSON.parse(this.#storage?.getItem(this.#key(epoch)) ?? "null") ?? {};
      if (!isCount(seq)) return null;
      return { epoch, seq, cursor: isCursorId(cursor) ? cursor : String(seq), revision: isCount(revision) ? revision : null };
    } catch {
      return null;
    }
  }

  /** @param {Position} position not kept while its epoch is unknown: it would be good in any log, so in none */
  save({ epoch, seq, cursor, revision }) {
    if (epoch === null) return;
    try {
      this.#storage?.setItem(this.#key(epoch), JSON.stringify({ seq, cursor, revision }));
      this.#storage?.setItem(this.#epochKey, epoch);
    } catch {
      // It costs a longer replay at the next visit, nothing else.
    }
  }

  get #epochKey() {
    return `towow.task-epoch:${this.#baseUrl}`;
  }

  /** @param {string} epoch */
  #key(epoch) {
    return `towow.task:${this.#baseUrl}|${epoch}|${this.#taskId}`;
  }
}

/** @param {unknown} value */
function isCount(value) {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
