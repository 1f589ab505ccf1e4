/**
 * What may follow what in a run and in each of its agents: the tables of the server's `generations/model.py`, as a test holds.
 *
 * An event without a row here only moves the position, because anybody may append to the stream.
 *
 * @typedef {"new" | "running" | "completed" | "failed" | "cancelled"} RunStatus
 * @typedef {"waiting" | "running" | "retrying" | "completed" | "failed"} AgentStatus
 */

/** Status → step → status. A step is an event type; the end by a cancel is named with it. @type {Record<string, Record<string, RunStatus>>} */
export const TRANSITIONS = {
  new: { run_started: "running" },
  running: {
    agent_start: "running",
    llm_chunk: "running",
    agent_complete: "running",
    progress: "running",
    retrying: "running",
    error: "running",
    run_resumed: "running",
    run_complete: "completed",
    run_failed: "failed",
    "run_failed:cancelled": "cancelled",
  },
};

/** The same for each agent of a run that is running. @type {Record<string, Record<string, AgentStatus>>} */
export const AGENT_TRANSITIONS = {
  waiting: { agent_start: "running" },
  running: { llm_chunk: "running", retrying: "retrying", agent_complete: "completed", error: "failed", run_resumed: "waiting" },
  retrying: { llm_chunk: "running", retrying: "retrying", error: "failed", run_resumed: "waiting" },
};

/** The agents of a run that names none: name and stage. @type {Record<string, [string, number][]>} */
export const PLANS = {
  nova: [
    ["insight_agent", 1],
    ["profile_agent", 1],
    ["content_agent", 1],
    ["optimization_agent", 1],
  ],
  loomi: [
    ["requirement_analyzer", 1],
    ["strategy_generator", 2],
    ["content_generator", 3],
    ["content_optimizer", 4],
  ],
};

export const REASONS = ["all_agents_failed", "agent_failed", "interrupted", "cancelled", "timeout", "internal"];

/**
 * @template {string} Status
 * @param {Record<string, Record<string, Status>>} table
 * @param {string} status
 * @param {string} step
 * @returns {Status | undefined} undefined when the step means nothing then
 */
export function after(table, status, step) {
  const row = Object.hasOwn(table, status) ? table[status] : {};
  return Object.hasOwn(row, step) ? row[step] : undefined;
}
