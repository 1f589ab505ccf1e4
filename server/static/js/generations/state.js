/**
 * A run of several writing agents: a pure fold over its events, for any events that anybody appended, and over a snapshot.
 *
 * Events come in two shapes, source 003's from the stream and the log's own from polls; both are read here. `payloads.js` reads
 * what they say. Texts are never copied: see `growing-text.js`.
 *
 * @import { Agent, Run, RunEvent } from "./types.js"
 */

import { object } from "../lib/fields.js";
import { GrowingText, NO_TEXT } from "./growing-text.js";
import { agentChanges, line, newAgent, NO_PROGRESS, progressOf, startOf } from "./payloads.js";
import { after, AGENT_TRANSITIONS, REASONS, TRANSITIONS } from "./tables.js";

/**
 * @param {string} id
 * @returns {Run} of which nothing is known
 */
export function newRun(id) {
  const unknown = { prompt: "", sessionId: "", continues: "", reason: "", error: "", result: "", createdAt: "", endedAt: "" };
  return { id, status: "new", mode: "nova", agents: [], progress: NO_PROGRESS, partial: false, degraded: false, resumes: 0, createdSeq: 0, lastSeq: 0, ...unknown };
}

/**
 * Read an event in either shape.
 *
 * @param {Record<string, any>} event
 * @returns {RunEvent}
 */
export function runEventOf({ event_type, agent_source, source, payload, timestamp, seq }) {
  return { type: line(event_type), source: line(agent_source) || line(source), payload: object(payload), timestamp: line(timestamp), seq };
}

/**
 * The run of `GET /api/runs/{id}`, true at its `last_seq`; a row of the list is one without texts.
 *
 * @param {Record<string, any>} snapshot
 * @returns {Run}
 */
export function runOf(snapshot) {
  return {
    ...newRun(snapshot.run_id),
    status: snapshot.status,
    mode: snapshot.mode,
    prompt: snapshot.prompt,
    sessionId: snapshot.session_id ?? "",
    agents: (snapshot.agents ?? []).map((/** @type {Record<string, any>} */ each) => ({
      ...newAgent(each.name, each.task_description, each.stage),
      status: each.status,
      text: each.text ? new GrowingText(each.text) : NO_TEXT,
      summary: each.summary ?? "",
      error: each.error ?? "",
      errorType: each.error_type ?? "",
      retries: each.retries ?? 0,
      nextTryAt: each.next_try_at ? Date.parse(each.next_try_at) : null,
      writtenBy: each.written_by ?? "",
      degraded: Boolean(each.degraded),
    })),
    continues: snapshot.continues ?? "",
    progress: snapshot.progress ?? NO_PROGRESS,
    reason: snapshot.reason ?? "",
    error: snapshot.error ?? "",
    result: snapshot.result ?? "",
    partial: Boolean(snapshot.partial),
    degraded: Boolean(snapshot.degraded),
    resumes: snapshot.resumes ?? 0,
    createdAt: snapshot.created_at,
    endedAt: snapshot.ended_at ?? "",
    createdSeq: snapshot.created_seq,
    lastSeq: snapshot.last_seq,
  };
}

/**
 * The run after one more event; an event at or before `lastSeq` changes nothing.
 *
 * @param {Run} run
 * @param {RunEvent} event
 * @returns {Run}
 */
export function foldRun(run, event) {
  if (event.seq <= run.lastSeq) return run;
  const changes = after(TRANSITIONS, run.status, event.type) ? changesOf(run, event) : {};
  return { ...run, ...changes, lastSeq: event.seq };
}

/**
 * @param {Run} run
 * @param {RunEvent} event
 * @returns {Partial<Run>}
 */
function changesOf(run, event) {
  const { type, payload, timestamp } = event;
  switch (type) {
    case "run_started":
      return startOf(event);
    case "progress":
      return { progress: progressOf(payload, run.progress.total) };
    case "run_resumed":
      return resumedBy(run, payload);
    case "run_complete":
      return {
        status: "completed",
        endedAt: timestamp,
        result: line(payload.result),
        partial: payload.partial === true,
        degraded: run.degraded || payload.degraded === true,
        progress: { ...run.progress, percent: 100 },
      };
    case "run_failed": {
      const isCancelled = payload.status === "cancelled";
      const reason = isCancelled ? "cancelled" : REASONS.includes(payload.reason) ? payload.reason : "internal";
      return { status: isCancelled ? "cancelled" : "failed", endedAt: timestamp, reason, error: line(payload.error) };
    }
    default:
      return withAgent(run, event);
  }
}

/**
 * @param {Run} run
 * @param {RunEvent} event
 * @returns {Partial<Run>} nothing where it names no agent of the run
 */
function withAgent(run, event) {
  const named = (/** @type {string} */ name) => run.agents.find((agent) => agent.name === name);
  const agent = named(line(event.payload.agent)) ?? named(event.source);
  const status = agent && after(AGENT_TRANSITIONS, agent.status, event.type);
  if (!status) return {};
  return agentsChanged(run.agents.map((each) => (each === agent ? { ...each, ...agentChanges(each, event), status } : each)));
}

/**
 * @param {Run} run
 * @param {Record<string, any>} payload
 * @returns {Partial<Run>}
 */
function resumedBy(run, payload) {
  const names = Array.isArray(payload.restarts) ? payload.restarts : [];
  const begins = (/** @type {Agent} */ { name, status }) => names.includes(name) && after(AGENT_TRANSITIONS, status, "run_resumed");
  return { ...agentsChanged(run.agents.map((each) => (begins(each) ? newAgent(each.name, each.task, each.stage) : each))), resumes: run.resumes + 1 };
}

/**
 * @param {Agent[]} agents
 * @returns {Partial<Run>}
 */
function agentsChanged(agents) {
  return { agents, degraded: agents.some(({ degraded }) => degraded) };
}
