/**
 * What happens to one session, and the queue of an operator: pure folds over events, for any events that anybody appended.
 *
 * Events come in two shapes, source 001's from its streams and the log's own from polls; both are read here.
 *
 * @typedef {object} Message an event as source 001 shows it
 * @property {string} type
 * @property {Record<string, any>} payload
 * @property {string} timestamp ISO-8601
 * @property {number} seq
 *
 * @typedef {object} Entry what stands in a chat
 * @property {number} seq
 * @property {"message" | "status"} kind
 * @property {string} timestamp
 * @property {string} role user, bot or operator; of a status its new status
 * @property {string} text the message, or the reason
 * @property {string} agentId empty: none
 *
 * @typedef {object} Session
 * @property {string} name
 * @property {string} status new, bot, waiting_agent, with_operator or closed
 * @property {string} agentId of the operator; empty: none
 * @property {string} reason
 * @property {string} since when its status began; empty while new
 * @property {Entry[]} entries
 *
 * @typedef {{name: string, reason: string, since: string, seq: number}} Waiting
 * @typedef {{waiting: Record<string, Waiting>, mine: Record<string, Waiting>}} Queue sessions by name
 */

import { object, text } from "../lib/fields.js";

export const NAME = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,119}$/;
const STATUSES = ["bot", "waiting_agent", "with_operator", "closed"];
// What may follow what, as on the server: any other change of status that somebody appended means nothing.
/** @type {Record<string, string[]>} */
const NEXT = { new: ["waiting_agent"], bot: ["waiting_agent"], waiting_agent: ["with_operator"], with_operator: ["bot", "closed"] };
const ROLES = ["user", "bot", "operator"];

/** @type {Queue} */
export const EMPTY_QUEUE = { waiting: {}, mine: {} };

/**
 * Read an event in either shape.
 *
 * @param {Record<string, any>} event
 * @returns {Message}
 */
export function messageOf({ type, event_type, payload, timestamp, seq }) {
  const at = typeof timestamp === "number" ? new Date(timestamp * 1000).toISOString() : String(timestamp);
  return { type: text(type) || text(event_type), payload: object(payload), timestamp: at, seq };
}

/**
 * @param {string} name
 * @returns {Session}
 */
export function newSession(name) {
  return { name, status: "new", agentId: "", reason: "", since: "", entries: [] };
}

/**
 * The session after one more event of its stream; what means nothing to it changes nothing.
 *
 * @param {Session} session
 * @param {Message} message
 * @returns {Session}
 */
export function foldSession(session, { type, payload, timestamp, seq }) {
  const agentId = text(payload.agent_id);
  const begun = session.status === "new" ? { status: "bot", since: timestamp } : {};
  if (type === "transfer_request") return { ...session, ...begun, reason: text(payload.reason) };
  if (type === "new_message") {
    const content = text(payload.content);
    if (!content || !ROLES.includes(payload.role)) return session;
    return { ...session, ...begun, entries: [...session.entries, { seq, kind: "message", timestamp, role: payload.role, text: content, agentId }] };
  }
  const status = type === "session_closed" ? "closed" : type === "status_change" ? payload.status : "";
  const isEnd = type === "session_closed" && session.status !== "new" && session.status !== "closed";
  if (!isEnd && !NEXT[session.status]?.includes(status)) return session;
  if (status === "with_operator" && !NAME.test(agentId)) return session;
  const reason = text(payload.reason);
  return {
    ...session,
    status,
    agentId: status === "with_operator" ? agentId : "",
    reason: status === "bot" ? "" : reason || session.reason,
    since: timestamp,
    entries: [...session.entries, { seq, kind: "status", timestamp, role: status, text: reason, agentId }],
  };
}

/**
 * The queue as the lists of the server have it.
 *
 * @param {Record<string, any>[]} waiting
 * @param {Record<string, any>[]} handled those that are with an operator
 * @param {string} operatorId
 * @returns {Queue}
 */
export function queueOf(waiting, handled, operatorId) {
  const rows = (/** @type {Record<string, any>[]} */ sessions) =>
    Object.fromEntries(sessions.map((each) => [each.session_name, { name: each.session_name, reason: text(each.reason), since: text(each.waiting_since) || text(each.updated_at), seq: Number(each.status_seq) || 0 }]));
  return { waiting: rows(waiting), mine: rows(handled.filter(({ agent_id }) => agent_id === operatorId)) };
}

/**
 * The queue after one more event for operators; the same event twice changes nothing more.
 *
 * @param {Queue} queue
 * @param {Message} message
 * @param {string} operatorId
 * @returns {Queue}
 */
export function foldQueue(queue, { type, payload, timestamp, seq }, operatorId) {
  const name = text(payload.session_name);
  if (type !== "status_change" || !NAME.test(name) || !STATUSES.includes(payload.status)) return queue;
  const { [name]: was, ...waiting } = queue.waiting;
  const { [name]: had, ...mine } = queue.mine;
  const row = { name, reason: text(payload.reason) || (was?.reason ?? had?.reason ?? ""), since: timestamp, seq };
  if (payload.status === "waiting_agent") return { waiting: { ...waiting, [name]: row }, mine };
  if (payload.status === "with_operator" && payload.agent_id === operatorId) return { waiting, mine: { ...mine, [name]: row } };
  return { waiting, mine };
}

/**
 * @param {Record<string, Waiting>} rows
 * @returns {Waiting[]} the longest waiting first
 */
export function longestFirst(rows) {
  // By place in the log: the stream has times in whole seconds, the lists in milliseconds.
  return Object.values(rows).sort((one, two) => one.seq - two.seq || (one.name < two.name ? -1 : 1));
}

/**
 * What somebody may do in a session, so that a page offers that and nothing else.
 *
 * @param {Session} session
 * @param {string} operatorId
 * @returns {{canTakeOver: boolean, canSpeak: boolean, canRelease: boolean, canAsk: boolean, canWrite: boolean}} the first
 *   three as this operator, the others as the visitor
 */
export function permitted({ status, agentId }, operatorId) {
  const has = status === "with_operator" && agentId === operatorId && operatorId !== "";
  return {
    canTakeOver: status === "waiting_agent" && operatorId !== "",
    canSpeak: has,
    canRelease: has,
    canAsk: status === "bot" || status === "new",
    canWrite: status !== "closed",
  };
}
