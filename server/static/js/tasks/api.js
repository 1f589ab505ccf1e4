/** What the page of the tasks asks of the server. */

import { get, post } from "../lib/http.js";

const PAGE = 1000; // events, the most that the server gives at once
const MOST_AT_ONCE = 250; // events in one request, so that the first of a burst are stored soon

/**
 * @param {string} taskId
 * @returns {string}
 */
function base(taskId) {
  return `/api/tasks/${encodeURIComponent(taskId)}`;
}

/** The newest tasks. @returns {Promise<{tasks: Record<string, any>[], has_more: boolean}>} */
export function readTasks() {
  return get("/api/tasks?limit=50");
}

/**
 * How a task stands; 404 when there is none.
 *
 * @param {string} taskId
 * @returns {Promise<Record<string, any>>}
 */
export function readTask(taskId) {
  return get(base(taskId));
}

/**
 * Where a task's events are as JSON.
 *
 * @param {string} taskId
 * @returns {string}
 */
export function rawPath(taskId) {
  return `${base(taskId)}/events?limit=${PAGE}`;
}

/**
 * All events up to one, page by page.
 *
 * @param {string} taskId
 * @param {number} untilSeq inclusive
 * @returns {AsyncGenerator<Record<string, any>[]>}
 */
export async function* readHistory(taskId, untilSeq) {
  let since = "0";
  for (let hasMore = true; hasMore; ) {
    const page = await get(`${base(taskId)}/events?since_seq=${since}&until_seq=${untilSeq}&limit=${PAGE}`);
    yield page.events;
    since = page.next_cursor;
    hasMore = page.has_more;
  }
}

/**
 * Append one event; the same `event_id` again is stored once.
 *
 * @param {string} taskId
 * @param {Record<string, any>} event
 * @returns {Promise<any>}
 */
export function emit(taskId, event) {
  return post(`${base(taskId)}/events`, event);
}

/**
 * Append many events, in order, a few requests after another.
 *
 * @param {string} taskId
 * @param {Record<string, any>[]} events
 */
export async function emitAll(taskId, events) {
  for (let i = 0; i < events.length; i += MOST_AT_ONCE) {
    await post(`${base(taskId)}/events`, { events: events.slice(i, i + MOST_AT_ONCE) });
  }
}
