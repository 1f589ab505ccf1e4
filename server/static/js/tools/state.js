/**
 * What the tools of a session do and ask: a pure fold over events, for any events that anybody appended.
 *
 * Events come in two shapes, source 004's from the stream and the log's own from polls; both are read here.
 *
 * @typedef {object} ToolEvent
 * @property {string} type
 * @property {Record<string, any>} data
 * @property {string} timestamp ISO-8601
 * @property {number} seq
 * @property {string} actor who appended it, as the server knows; empty where nobody is asked
 *
 * @typedef {"low" | "medium" | "high"} Risk
 * @typedef {{name: string, status: string, since: string, parameters: Record<string, any>, risk: Risk | "", seq: number}} Tool
 * @typedef {object} Prompt a request that waits for an answer
 * @property {string} id
 * @property {string} tool
 * @property {Record<string, any>} parameters
 * @property {Record<string, any>} more whatever else came with the request, MCP's `arguments` too
 * @property {Risk} risk
 * @property {boolean} isDeclared whether the runner said how risky it is
 * @property {string} actor who asked, as the server knows; empty where nobody is asked
 * @property {string} timestamp
 * @property {number | null} deadline ms since 1970
 * @property {number} seq
 *
 * @typedef {{seq: number, kind: "result" | "error", tool: string, isSuccess: boolean, value: any, timestamp: string}} Result
 * @typedef {object} Room
 * @property {Record<string, Tool>} tools by name
 * @property {Prompt[]} prompts oldest first
 * @property {Record<string, true>} settled ids of requests that have an end
 * @property {Result[]} results newest first
 * @property {ToolEvent[]} history newest first
 * @property {number} count of all that happened
 */

import { deadline, extension, number, object, text } from "../lib/fields.js";

export const SESSION_ID = /^[A-Za-z0-9._-]{1,120}$/;
const MOST_RESULTS = 50;
const MOST_HISTORY = 300;
const RISKS = ["low", "medium", "high"];

/** @type {Room} */
export const EMPTY_ROOM = { tools: {}, prompts: [], settled: {}, results: [], history: [], count: 0 };

/**
 * Read an event in either shape.
 *
 * @param {Record<string, any>} event
 * @returns {ToolEvent}
 */
export function toolEventOf({ type, event_type, data, payload, timestamp, seq, actor }) {
  const fields = object(data ?? payload);
  return { type: text(type) || text(event_type), data: fields, timestamp: text(fields.timestamp) || text(timestamp), seq, actor: text(actor) };
}

/**
 * A level of risk; high for what is none, the cautious reading.
 *
 * @param {any} value
 * @returns {Risk}
 */
export function riskOf(value) {
  return RISKS.includes(value) ? value : "high";
}

/**
 * The room after one more event.
 *
 * @param {Room} room
 * @param {ToolEvent} event
 * @returns {Room}
 */
export function foldRoom(room, event) {
  const { type, data, timestamp, seq } = event;
  const tool = text(data.tool_name);
  const id = text(data.permission_id);
  if (type === "permission_cleared" && room.settled[id]) return room; // its answer has settled it
  const next = { ...room, history: [event, ...room.history].slice(0, MOST_HISTORY), count: room.count + 1 };
  switch (type) {
    case "tool_status":
      return tool && text(data.status) ? { ...next, tools: { ...room.tools, [tool]: toolOf(room.tools[tool], tool, event) } } : next;
    case "permission_request":
      return id && !room.settled[id] && !room.prompts.some((prompt) => prompt.id === id) ? { ...next, prompts: [...room.prompts, promptOf(id, event)] } : next;
    case "permission_response_result":
    case "permission_cleared":
      return id ? { ...next, settled: { ...room.settled, [id]: true }, prompts: room.prompts.filter((prompt) => prompt.id !== id) } : next;
    case "deadline.extended":
      return { ...next, prompts: room.prompts.map((prompt) => (prompt.id === id ? longer(prompt, data.seconds) : prompt)) };
    case "tool_result":
      return withResult(
        { ...next, tools: endedTools(room.tools, tool, data.success === true, event) },
        { seq, kind: "result", tool, isSuccess: data.success === true, value: data.result, timestamp },
      );
    case "error":
      return withResult(next, { seq, kind: "error", tool, isSuccess: false, value: text(data.message), timestamp });
    case "result_cleared":
      return { ...next, results: tool ? room.results.filter((result) => result.tool !== tool) : [] };
    default:
      return next;
  }
}

/**
 * The room with the times that the server itself counts down, so that a wrong clock anywhere does not matter.
 *
 * @param {Room} room
 * @param {Record<string, any>[]} pending as the health of a session lists them
 * @param {number} now ms since 1970 by this machine
 * @returns {Room}
 */
export function withDeadlines(room, pending, now) {
  /** @type {Map<string, number>} */
  const left = new Map();
  for (const { permission_id, expires_in_seconds } of pending) {
    if (text(permission_id) && number(expires_in_seconds) !== null) left.set(permission_id, expires_in_seconds);
  }
  const endOf = (/** @type {Prompt} */ prompt) => now + (left.get(prompt.id) ?? 0) * 1000;
  return { ...room, prompts: room.prompts.map((prompt) => (left.has(prompt.id) ? { ...prompt, deadline: endOf(prompt) } : prompt)) };
}

/**
 * @param {Tool | undefined} known
 * @param {string} name
 * @param {ToolEvent} event
 * @returns {Tool}
 */
function toolOf(known, name, { data, timestamp, seq }) {
  const details = object(data.details);
  const status = text(data.status);
  const since = known?.status === status ? known.since : timestamp;
  const risk = details.risk_level === undefined ? "" : riskOf(details.risk_level);
  return { name, status, since, parameters: object(details.parameters), risk, seq };
}

/**
 * The tools once one has brought its result: it does not run any more, also where its runner does not report it.
 *
 * @param {Room["tools"]} tools
 * @param {string} name
 * @param {boolean} isSuccess
 * @param {ToolEvent} event
 * @returns {Room["tools"]}
 */
function endedTools(tools, name, isSuccess, { timestamp, seq }) {
  const known = Object.hasOwn(tools, name) ? tools[name] : undefined;
  if (!known) return tools;
  return { ...tools, [name]: { ...known, status: isSuccess ? "completed" : "failed", since: timestamp, seq } };
}

/**
 * @param {string} id
 * @param {ToolEvent} event
 * @returns {Prompt}
 */
function promptOf(id, { data, timestamp, seq, actor }) {
  const { expires_within_seconds: seconds } = data;
  // What is no time is left to the server's own count.
  const end = number(seconds) === null ? null : deadline(timestamp, seconds);
  const parameters = object(data.parameters);
  // What a card says in other words is left out; everything else is shown, also under a known name when it is of another kind.
  const said = { permission_id: id, tool_name: text(data.tool_name), parameters, risk_level: riskOf(data.risk_level), risk_declared: false, status: "pending", expires_within_seconds: number(seconds), timestamp: data.timestamp };
  const more = Object.fromEntries(Object.entries(data).filter(([key, value]) => !Object.hasOwn(said, key) || said[/** @type {keyof typeof said} */ (key)] !== value));
  return { id, tool: said.tool_name, parameters, more, risk: said.risk_level, isDeclared: RISKS.includes(data.risk_level) && data.risk_declared !== false, actor, timestamp, deadline: end, seq };
}

/**
 * @param {Prompt} prompt
 * @param {any} seconds
 * @returns {Prompt} with more time
 */
function longer(prompt, seconds) {
  return { ...prompt, deadline: prompt.deadline === null ? null : prompt.deadline + extension(seconds) };
}

/**
 * @param {Room} room
 * @param {Result} result
 * @returns {Room}
 */
function withResult(room, result) {
  return { ...room, results: [result, ...room.results].slice(0, MOST_RESULTS) };
}
