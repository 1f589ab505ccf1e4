/**
 * The order of one task's events from any source: what is next, what is missing, what came before. No I/O.
 *
 * Missing events show in `revision`, which has no holes within a task; `seq` counts the whole log, so its holes mean nothing.
 *
 * @import { TaskEvent } from "./options.js"
 *
 * @typedef {object} Position the last event that was handled
 * @property {string | null} epoch the log it belongs to; null while unknown
 * @property {number} seq
 * @property {string} cursor the place after it, as the server gave it: where to go on from
 * @property {number | null} revision null while unknown: one came back with a seq alone, or what came before is trimmed
 *
 * @typedef {object} Missing
 * @property {"gap" | "behind" | "unsure"} kind a hole before what is waiting; others are further; or the revision before what
 *   is waiting is not known, so there may be a hole
 * @property {string} since exclusive, a cursor
 * @property {number} until inclusive, a seq
 * @property {number | null} lastRevision of the hole
 */

const MAX_WAITING = 10_000; // events; what comes while so many wait is read again later

export class Ordering {
  /** @type {Position} */
  position;
  /** A seq that events of this task may reach, as a tab that is further has reported. */
  reachedSeq = 0;
  /** The furthest seq that came or was handled. */
  furthestSeq;
  #detectsGaps;
  /** What cannot be handed out yet, by revision. @type {Map<number, TaskEvent>} */
  #waiting = new Map();
  /** What was passed over and may still come, by revision. @type {Map<number, TaskEvent>} */
  #late = new Map();
  /** Ranges of revisions that were passed over, both ends inclusive. @type {[number, number][]} */
  #skipped = [];

  /**
   * @param {Position} position
   * @param {boolean} detectsGaps otherwise events are handed out as they come, as long as they are newer
   */
  constructor(position, detectsGaps) {
    this.position = knownStart(position);
    this.furthestSeq = position.seq;
    this.#detectsGaps = detectsGaps;
  }

  /** Begin somewhere else, with nothing waiting. @param {Position} position */
  restart(position) {
    this.position = knownStart(position);
    this.reachedSeq = 0;
    this.furthestSeq = position.seq;
    this.#waiting.clear();
    this.#late.clear();
    this.#skipped = [];
  }

  /**
   * Take in an event. One too many is only remembered as a place that was reached, unless it was requested.
   *
   * @param {TaskEvent} event
   * @param {boolean} [isRequested]
   * @returns {boolean} false: it was here before
   */
  accept(event, isRequested = false) {
    if (event.seq <= this.position.seq) {
      if (!this.#wasSkipped(event.revision) || this.#late.has(event.revision)) return false;
      this.#late.set(event.revision, event);
      return true;
    }
    if (this.#waiting.has(event.revision)) return false;
    if (!isRequested && this.#waiting.size >= MAX_WAITING && event.seq > this.furthestSeq) {
      this.reachedSeq = Math.max(this.reachedSeq, event.seq);
      return true;
    }
    this.#waiting.set(event.revision, event);
    this.furthestSeq = Math.max(this.furthestSeq, event.seq);
    return true;
  }

  /** The event to hand out now, if there is one. @returns {TaskEvent | undefined} */
  next() {
    for (const event of this.#late.values()) return event;
    const { revision } = this.position;
    const expected = revision === null ? undefined : this.#waiting.get(revision + 1);
    return expected ?? (this.#detectsGaps ? undefined : this.#first());
  }

  /** The event was handled: go on after it. @param {TaskEvent} event from `next()` */
  handled(event) {
    const { seq, revision, cursor } = event;
    if (this.#late.delete(revision)) {
      this.#skipped = this.#skipped.flatMap((range) => without(range, revision));
      return;
    }
    if (this.position.revision !== null && revision > this.position.revision + 1) {
      this.#skipped.push([this.position.revision + 1, revision - 1]);
    }
    this.#waiting.delete(revision);
    this.position = { ...this.position, seq, cursor: cursor ?? String(seq), revision };
  }

  /** What has to be read before anything goes on; null when nothing is missing. @returns {Missing | null} */
  missing() {
    if (this.next()) return null;
    const first = this.#first();
    const { seq, cursor: since } = this.position;
    const until = first ? first.seq - 1 : Infinity;
    if (this.reachedSeq > seq) return { kind: "behind", since, until: Math.min(until, this.reachedSeq), lastRevision: null };
    if (!first) return null;
    return { kind: this.position.revision === null ? "unsure" : "gap", since, until, lastRevision: first.revision - 1 };
  }

  /** The event is the next one for sure: it was requested. @param {TaskEvent} event */
  follow({ revision }) {
    if (this.position.revision === null) this.position = { ...this.position, revision: revision - 1 };
  }

  /**
   * Give up what is missing before the first event that waits. It is still taken if it comes later.
   */
  skip() {
    const first = this.#first();
    if (!first) return;
    const revision = first.revision - 1;
    if (this.position.revision !== null) this.#skipped.push([this.position.revision + 1, revision]);
    this.position = { ...this.position, revision };
  }

  /** Whether the revision is here: handled or waiting. @param {number} revision */
  has(revision) {
    const handled = this.position.revision ?? 0;
    return this.#waiting.has(revision) || (revision <= handled && !this.#wasSkipped(revision));
  }

  /** How many events wait. @returns {number} */
  get waiting() {
    return this.#waiting.size + this.#late.size;
  }

  #first() {
    let lowest = Infinity;
    for (const revision of this.#waiting.keys()) lowest = Math.min(lowest, revision);
    return this.#waiting.get(lowest);
  }

  /** @param {number} revision */
  #wasSkipped(revision) {
    return this.#skipped.some(([low, high]) => low <= revision && revision <= high);
  }
}

/**
 * Nothing comes before the first event, so at seq 0 the revision is known.
 *
 * @param {Position} position
 * @returns {Position}
 */
function knownStart({ epoch, seq, cursor, revision }) {
  return { epoch, seq, cursor, revision: seq === 0 ? 0 : revision };
}

/**
 * @param {[number, number]} range
 * @param {number} revision
 * @returns {[number, number][]}
 */
function without([low, high], revision) {
  if (revision < low || revision > high) return [[low, high]];
  return /** @type {[number, number][]} */ ([[low, revision - 1], [revision + 1, high]]).filter(([from, to]) => from <= to);
}
