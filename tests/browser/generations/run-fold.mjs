/**
 * Histories of runs as JSON on stdin (one list of events each), the page's folds of them on stdout, in the words of the API.
 */

import { readFileSync } from "node:fs";

import { foldRun, newRun, runEventOf } from "../../../server/static/js/generations/state.js";

function told(events) {
  const run = events.map(runEventOf).reduce(foldRun, newRun("r-1"));
  return {
    status: run.status,
    mode: run.mode,
    prompt: run.prompt,
    session_id: run.sessionId || null,
    continues: run.continues || null,
    progress: run.progress,
    agents: run.agents.map((agent) => ({
      name: agent.name,
      task_description: agent.task,
      stage: agent.stage,
      status: agent.status,
      text: String(agent.text),
      characters: agent.text.characters,
      summary: agent.summary,
      error: agent.error || null,
      error_type: agent.errorType || null,
      retries: agent.retries,
      next_try_at: agent.nextTryAt === null ? null : new Date(agent.nextTryAt).toISOString(),
      written_by: agent.writtenBy || null,
      degraded: agent.degraded,
    })),
    reason: run.reason || null,
    result: run.status === "completed" ? run.result : null,
    error: run.error || null,
    partial: run.partial,
    degraded: run.degraded,
    resumes: run.resumes,
    ended_at: run.endedAt || null,
    created_seq: run.createdSeq,
    last_seq: run.lastSeq,
  };
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(told)));
