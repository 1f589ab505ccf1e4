/** What the page of the sessions asks of the server, as operator and as visitor. */

import { get, post } from "../lib/http.js";

/**
 * Sessions in a status, newest first; one page, of 200 at most.
 *
 * @param {string} status
 * @returns {Promise<{sessions: Record<string, any>[], has_more: boolean, head_seq: number, epoch: string}>}
 */
export function readSessions(status) {
  return get(`/api/sessions?status=${encodeURIComponent(status)}&limit=200`);
}

/**
 * @param {string} name
 * @param {string} agentId
 */
export function takeOver(name, agentId) {
  return post(`/api/sessions/${encodeURIComponent(name)}/takeover`, { agent_id: agentId });
}

/**
 * @param {string} name
 * @param {string} agentId
 * @param {boolean} close ends the session for good
 */
export function release(name, agentId, close) {
  return post(`/api/sessions/${encodeURIComponent(name)}/release`, { agent_id: agentId, ...(close && { close: true }) });
}

/**
 * Ask for a human.
 *
 * @param {string} name
 * @param {string} reason may be empty
 */
export function escalate(name, reason) {
  return post("/api/manual/escalate", { session_name: name, ...(reason && { reason }) });
}

/**
 * Say something; the same `messageId` again is stored once.
 *
 * @param {string} name
 * @param {{role: "user" | "operator", content: string, messageId: string, agentId?: string}} said
 */
export function say(name, { role, content, messageId, agentId }) {
  return post("/api/manual/message", { session_name: name, role, content, message_id: messageId, ...(agentId && { agent_id: agentId }) });
}
