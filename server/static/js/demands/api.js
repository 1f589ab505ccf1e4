/**
 * What the first page asks of the server's JSON API.
 *
 * Paths and shapes are the server's; callers decide what a failure, a `RequestError` of `http.js`, means.
 *
 * @import { Demand, DemandPage, EventPage } from "../lib/types.js"
 */

import { get, post } from "../lib/http.js";

export { RequestError } from "../lib/http.js";

/**
 * The snapshot of the list, or a page of older demands.
 *
 * @param {number} [before] `created_seq` of the oldest demand that is known
 * @returns {Promise<DemandPage>}
 */
export function readDemands(before) {
  return get(`/api/demand?limit=50${before === undefined ? "" : `&before=${before}`}`);
}

/**
 * @param {string} id
 * @returns {Promise<Demand>}
 */
export function readDemand(id) {
  return get(`/api/demand/${encodeURIComponent(id)}`);
}

/**
 * Submit a demand; it is stored when this resolves.
 *
 * @param {string} rawInput 1 to 10,000 characters
 * @param {boolean} mustConfirm nothing is agreed without the user's yes
 * @returns {Promise<{demand_id: string, channel_id: string, status: string, understanding: any, seq: number}>}
 */
export function submitDemand(rawInput, mustConfirm) {
  return post("/api/demand/submit", { raw_input: rawInput, ...(mustConfirm && { confirm: true }) });
}

/**
 * Answer a proposal as the user of the demand.
 *
 * @param {string} id of the demand
 * @param {{user_id: string, proposal_id: string, decision: string, comment?: string}} answer
 * @returns {Promise<any>}
 */
export function answerProposal(id, answer) {
  return post(`/api/demand/${encodeURIComponent(id)}/feedback`, answer);
}

/**
 * End a negotiation that is still going on.
 *
 * @param {string} id of the demand
 * @param {string} userId
 * @param {string} reason may be empty
 * @returns {Promise<any>}
 */
export function cancelDemand(id, userId, reason) {
  return post(`/api/demand/${encodeURIComponent(id)}/cancel`, { user_id: userId, ...(reason && { reason }) });
}

/**
 * One page of a demand's history; an empty one for a demand of which nothing is known yet.
 *
 * @param {string} id
 * @param {string} cursor exclusive
 * @returns {Promise<EventPage>}
 */
export function readHistory(id, cursor) {
  return get(`${historyPath(id)}&since_seq=${cursor}&limit=1000&allow_pending=1`);
}

/**
 * Where the raw events of a demand are.
 *
 * @param {string} id
 * @returns {string}
 */
export function historyPath(id) {
  return `/api/events?stream=${encodeURIComponent(`demand:${id}`)}`;
}

/** @returns {Promise<{agents: Agent[], head_seq: number}>} */
export function readAgents() {
  return get("/api/agents");
}
