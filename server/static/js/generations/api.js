/** What the page of the generations asks of the server. */

import { get, post } from "../lib/http.js";

const PAGE = 20; // runs of the history that are read at once

/**
 * Start a run; it is stored when this resolves.
 *
 * @param {"nova" | "loomi"} mode
 * @param {string} prompt 1 to 10,000 characters
 * @param {string} [sessionId] runs of a session go on from its last result
 * @returns {Promise<{run_id: string}>}
 */
export function startRun(mode, prompt, sessionId) {
  return post(mode === "nova" ? "/novachat" : "/loomichat", { prompt, ...(sessionId && { session_id: sessionId }) });
}

/**
 * @param {string} id
 * @returns {Promise<Record<string, any>>} the run with its texts, true at its `last_seq`
 */
export function readRun(id) {
  return get(runPath(id));
}

/**
 * @param {number} [before] `created_seq` of the oldest run that is known
 * @returns {Promise<{runs: Record<string, any>[], has_more: boolean, head_seq: number, epoch: string, model: Record<string, any>}>} newest first
 */
export function readRuns(before) {
  return get(`/api/runs?limit=${PAGE}${before === undefined ? "" : `&before=${before}`}`);
}

/**
 * @param {string} id
 * @returns {Promise<any>} rejects with 409 when it has ended otherwise
 */
export function cancelRun(id) {
  return post(`${runPath(id)}/cancel`, {});
}

/**
 * @param {string} sessionId
 * @returns {Promise<any>} rejects with 410 when what it had been about is forgotten
 */
export function readSessionState(sessionId) {
  return get(`/api/sessions/${encodeURIComponent(sessionId)}/state`);
}

/** @returns {Promise<{kind: string, name: string | null, status: string, hint: string}>} */
export function readModel() {
  return get("/api/model");
}

/**
 * Where a run is.
 *
 * @param {string} id
 * @returns {string}
 */
export function runPath(id) {
  return `/api/runs/${encodeURIComponent(id)}`;
}
