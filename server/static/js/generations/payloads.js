/**
 * The fields of a run's events, read from payloads that anybody may have written, as the server's `generations/payloads.py` does.
 *
 * Of a payload only what has the right type counts. `state.js` decides which of it changes anything.
 *
 * @import { Agent, Progress, Run, RunEvent } from "./types.js"
 */

import { object } from "../lib/fields.js";
import { NO_TEXT } from "./growing-text.js";
import { PLANS } from "./tables.js";

const MOST_AGENTS = 16;
const LARGEST_COUNT = 1_000_000;
const LONGEST_DELAY_SECONDS = 86_400;
const NAME = /^[A-Za-z0-9._:-]{1,128}$/;
const SESSION_ID = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,120}$/;
export const NO_PROGRESS = { percent: 0, stage: 0, completed: 0, total: 0 };

/**
 * @param {RunEvent} event
 * @returns {Partial<Run>} nothing when it has too little
 */
export function startOf({ payload, timestamp, seq }) {
  const { mode } = payload;
  const prompt = line(payload.prompt);
  if (!(mode === "nova" || mode === "loomi") || !prompt.trim()) return {};
  /** @type {Agent[]} */
  const named = [];
  for (const each of Array.isArray(payload.agents) ? payload.agents : []) {
    const { name, task_description, stage } = object(each);
    const isNew = typeof name === "string" && NAME.test(name) && !named.some((agent) => agent.name === name);
    if (isNew && named.length < MOST_AGENTS) named.push(newAgent(name, line(task_description), count(stage) || 1));
  }
  const agents = named.length ? named : PLANS[mode].map(([name, stage]) => newAgent(name, "", stage));
  return {
    status: "running",
    mode,
    prompt,
    sessionId: SESSION_ID.test(line(payload.session_id)) ? payload.session_id : "",
    agents,
    continues: NAME.test(line(payload.continues)) ? payload.continues : "",
    progress: { ...NO_PROGRESS, total: agents.length },
    createdAt: timestamp,
    createdSeq: seq,
  };
}

/**
 * @param {Agent} agent
 * @param {RunEvent} event
 * @returns {Partial<Agent>}
 */
export function agentChanges(agent, { type, payload, timestamp }) {
  const failure = { error: line(payload.error), errorType: line(payload.error_type), nextTryAt: null };
  const well = { error: "", errorType: "", nextTryAt: null };
  switch (type) {
    case "agent_start":
      return newAgent(agent.name, agent.task, agent.stage);
    case "llm_chunk":
      return { ...well, text: agent.text.plus(line(payload.content)), writtenBy: line(payload.written_by) || agent.writtenBy, degraded: agent.degraded || payload.degraded === true };
    case "agent_complete":
      return { ...well, summary: line(payload.summary) };
    case "retrying": {
      const discarded = payload.discards_text === true ? { text: NO_TEXT, writtenBy: "", degraded: false } : {};
      const nextTryAt = Math.round(Date.parse(timestamp) + Math.min(count(payload.delay_seconds, false), LONGEST_DELAY_SECONDS) * 1000);
      return { ...failure, ...discarded, retries: agent.retries + 1, nextTryAt: Number.isNaN(nextTryAt) ? null : nextTryAt };
    }
    default:
      return failure;
  }
}

/**
 * @param {string} name
 * @param {string} task
 * @param {number} stage
 * @returns {Agent}
 */
export function newAgent(name, task, stage) {
  return { name, task, stage, status: "waiting", text: NO_TEXT, summary: "", error: "", errorType: "", retries: 0, nextTryAt: null, writtenBy: "", degraded: false };
}

/**
 * @param {Record<string, any>} payload
 * @param {number} total where it has none
 * @returns {Progress}
 */
export function progressOf({ percent, stage, completed, total: given }, total) {
  return { percent: Math.min(count(percent), 100), stage: count(stage), completed: count(completed), total: count(given) || total };
}

/**
 * @param {any} value
 * @param {boolean} [isWhole]
 * @returns {number} from 0; 0 for what is no number
 */
function count(value, isWhole = true) {
  if (typeof value !== "number" || !Number.isFinite(value)) return 0;
  return Math.max(0, Math.min(isWhole ? Math.trunc(value) : value, LARGEST_COUNT));
}

/**
 * @param {any} value
 * @returns {string} as it is, also when it is blank; empty for what is no text
 */
export function line(value) {
  return typeof value === "string" ? value : "";
}
