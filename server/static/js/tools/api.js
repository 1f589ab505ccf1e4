/** What the page of the tools asks of the server. */

import { get, post } from "../lib/http.js";

const BASE = "/agent_backend/api/sse";

/**
 * Where a session's events are.
 *
 * @param {string} sessionId
 * @returns {string}
 */
export function eventsPath(sessionId) {
  return `${BASE}/events/${encodeURIComponent(sessionId)}`;
}

/**
 * How a session is; its `pending` has the time that each request has left.
 *
 * @param {string} sessionId
 * @returns {Promise<{pending: Record<string, any>[]}>}
 */
export function readHealth(sessionId) {
  return get(`${BASE}/health/${encodeURIComponent(sessionId)}`);
}

/**
 * Answer a request; the same answer again is the same.
 *
 * @param {string} sessionId
 * @param {string} permissionId
 * @param {boolean} approved
 * @param {string} reason may be empty
 * @returns {Promise<any>}
 */
export function answerPermission(sessionId, permissionId, approved, reason) {
  return post(`${BASE}/permission-response/${encodeURIComponent(sessionId)}`, { approved, reason, permission_id: permissionId });
}
