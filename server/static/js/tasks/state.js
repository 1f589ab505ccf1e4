/**
 * What a task is: a pure fold over its events with the server's own rules, for any events that anybody appended.
 *
 * Events come flat, as the stream of tasks and its pages write them. After an end nothing changes but the position, so the
 * first end counts.
 *
 * @typedef {object} TaskEvent
 * @property {string} type
 * @property {string} phase empty for none
 * @property {string} spanId empty for none
 * @property {Record<string, any>} payload
 * @property {string} timestamp ISO-8601
 * @property {number} seq
 * @property {number} revision place in the task, from 1 without gaps
 * @property {string} eventId
 *
 * @typedef {"running" | "completed" | "failed"} ItemStatus
 * @typedef {{spanId: string, status: ItemStatus, name: string, startedAt: string, endedAt: string, order: number}} WorkItem
 *   `order` is the seq of what happened to it last
 * @typedef {"running" | "completed" | "failed" | "cancelled"} TaskStatus
 *
 * @typedef {object} Task
 * @property {TaskStatus} status
 * @property {string} phase empty before the first
 * @property {string[]} phases that were entered, in order
 * @property {number} progress 0 to 100
 * @property {ReadonlyMap<string, WorkItem>} items by span_id
 * @property {Record<ItemStatus, number>} counts of items
 * @property {number} events
 * @property {string} createdAt
 * @property {string} updatedAt
 * @property {number} lastSeq
 */

import { count, number, object, text } from "../lib/fields.js";

export const TASK_ID = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,120}$/;
const NAME = /^[A-Za-z0-9._:-]{1,128}$/;
const MOST_PHASES = 30;
const LONGEST_NAME = 200; // characters of a work item's name

/** Other names of the same, as somebody may have appended them. @type {Record<string, string>} */
const ALIASES = { work_item_started: "work_item_start", work_item_completed: "work_item_complete" };
/** What an event type makes of the work item that it is about. @type {Record<string, ItemStatus>} */
const ITEM_STATUS = { work_item_start: "running", work_item_complete: "completed", work_item_failed: "failed" };
/** What an event type makes of the task; nothing follows. @type {Record<string, TaskStatus>} */
const ENDS = { task_complete: "completed", task_failed: "failed", task_cancelled: "cancelled" };

/** @type {Task} */
export const NEW_TASK = {
  status: "running",
  phase: "",
  phases: [],
  progress: 0,
  items: new Map(),
  counts: { running: 0, completed: 0, failed: 0 },
  events: 0,
  createdAt: "",
  updatedAt: "",
  lastSeq: 0,
};

/**
 * Read a flat event.
 *
 * @param {Record<string, any>} event
 * @returns {TaskEvent}
 */
export function taskEventOf({ event_type, phase, span_id, payload, timestamp, seq, revision, event_id }) {
  const fields = object(payload);
  const type = text(event_type);
  return { type: Object.hasOwn(ALIASES, type) ? ALIASES[type] : type, phase: nameOf(phase), spanId: nameOf(span_id), payload: fields, timestamp: text(timestamp), seq: count(seq), revision: count(revision), eventId: text(event_id) };
}

/**
 * The task after more events, in order; an event at or before `lastSeq` changes nothing.
 *
 * @param {Task} task stays as it is
 * @param {TaskEvent[]} events many at once are as cheap as one
 * @returns {Task}
 */
export function foldTask(task, events) {
  const items = new Map(task.items);
  const next = { ...task, items, counts: { ...task.counts } };
  for (const event of events) evolve(next, items, event);
  return next;
}

/**
 * Whether nothing can follow.
 *
 * @param {Task} task
 * @returns {boolean}
 */
export function isOver({ status }) {
  return status !== "running";
}

/**
 * The items as people want them: what runs, then what failed, then what is done, each newest first.
 *
 * @param {Task} task
 * @returns {WorkItem[]}
 */
export function orderedItems({ items }) {
  const rank = { running: 0, failed: 1, completed: 2 };
  return [...items.values()].sort((one, two) => rank[one.status] - rank[two.status] || two.order - one.order);
}

/**
 * @param {Task} task changed in place, as are its items
 * @param {Map<string, WorkItem>} items
 * @param {TaskEvent} event
 */
function evolve(task, items, event) {
  if (event.seq <= task.lastSeq) return;
  task.lastSeq = event.seq;
  task.events = event.revision;
  task.createdAt ||= event.timestamp;
  task.updatedAt = event.timestamp;
  if (isOver(task)) return;
  const { type } = event;
  if (type === "phase_enter" && event.phase) enter(task, event.phase);
  else if (type === "progress_update") task.progress = progressOf(event) ?? task.progress;
  else if (Object.hasOwn(ITEM_STATUS, type) && event.spanId) work(task, items, event, ITEM_STATUS[type]);
  else if (Object.hasOwn(ENDS, type)) {
    task.status = ENDS[type];
    if (task.status === "completed") task.progress = 100;
  }
}

/**
 * @param {Task} task
 * @param {string} phase
 */
function enter(task, phase) {
  task.phase = phase;
  if (task.phases.at(-1) !== phase) task.phases = [...task.phases, phase].slice(-MOST_PHASES);
}

/**
 * @param {Task} task
 * @param {Map<string, WorkItem>} items
 * @param {TaskEvent} event
 * @param {ItemStatus} status
 */
function work(task, items, { spanId, payload, timestamp, seq }, status) {
  const known = items.get(spanId);
  if (known) task.counts[known.status] -= 1;
  task.counts[status] += 1;
  const name = shortName(payload) || known?.name || "";
  const startedAt = status === "running" ? timestamp : (known?.startedAt ?? "");
  items.set(spanId, { spanId, status, name, startedAt, endedAt: status === "running" ? "" : timestamp, order: seq });
}

/**
 * @param {TaskEvent} event
 * @returns {number | null}
 */
function progressOf({ payload }) {
  const percent = number(payload.progress);
  return percent !== null && percent >= 0 && percent <= 100 ? percent : null;
}

/**
 * @param {Record<string, any>} payload
 * @returns {string}
 */
function shortName({ name, title }) {
  const found = text(name).trim() || text(title).trim();
  return found.length > LONGEST_NAME ? [...found].slice(0, LONGEST_NAME).join("") : found;
}

/**
 * @param {any} value
 * @returns {string}
 */
function nameOf(value) {
  return typeof value === "string" && NAME.test(value) ? value : "";
}
