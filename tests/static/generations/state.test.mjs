/**
 * The promises of js/generations/state.js and growing-text.js: what a run is after its events, whatever anybody appended.
 *
 * That the server reads every history in the same way is held by tests/browser/generations/test_run_fold.py.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { GrowingText, NO_TEXT } from "../../../server/static/js/generations/growing-text.js";
import { foldRun, newRun, runEventOf, runOf } from "../../../server/static/js/generations/state.js";

const AGENTS = ["insight_agent", "profile_agent", "content_agent", "optimization_agent"];
const TIME = "2026-01-01T00:00:00.000Z";

/** Events with the seqs 2, 4, 6 …, as a stream of the whole log would have them. */
function history(...events) {
  return events.map(([event_type, payload, agent_source = "x"], i) => ({ event_type, agent_source, payload, timestamp: TIME, seq: 2 * (i + 1) }));
}

const started = (more = {}) => ["run_started", { mode: "nova", prompt: "write", agents: AGENTS.map((name) => ({ name, task_description: `${name} does`, stage: 1 })), ...more }];
const begins = (agent) => ["agent_start", { agent, status: "started" }, agent];
const chunk = (agent, content, more = {}) => ["llm_chunk", { agent, content, written_by: "small", ...more }, "llm_client"];
const completes = (agent) => ["agent_complete", { agent, summary: "done" }, agent];
const retries = (agent, more = {}) => ["retrying", { agent, attempt: 2, delay_seconds: 1.5, error: "The model is busy.", error_type: "busy", discards_text: false, ...more }, agent];
const fold = (events, run = newRun("r-1")) => events.map(runEventOf).reduce(foldRun, run);
const agentOf = (run, name) => run.agents.find((agent) => agent.name === name);

describe("a run", () => {
  test("goes from its start over its agents to its result", () => {
    const run = fold(
      history(started({ session_id: "s", continues: "r-0" }), begins("insight_agent"), chunk("insight_agent", "Hel"), chunk("insight_agent", "lo\n "), completes("insight_agent"), [
        "progress",
        { percent: 25, stage: 1, completed: 1, total: 4 },
      ]),
    );
    assert.deepEqual([run.status, run.mode, run.prompt, run.sessionId, run.continues, run.createdAt, run.lastSeq], ["running", "nova", "write", "s", "r-0", TIME, 12]);
    assert.deepEqual(run.progress, { percent: 25, stage: 1, completed: 1, total: 4 });
    const insight = agentOf(run, "insight_agent");
    assert.deepEqual([insight.status, String(insight.text), insight.task, insight.summary, insight.writtenBy], ["completed", "Hello\n ", "insight_agent does", "done", "small"]);
    assert.equal(agentOf(run, "profile_agent").status, "waiting");
    const ended = fold([{ event_type: "run_complete", payload: { result: "all", partial: true, degraded: true }, timestamp: TIME, seq: 14 }], run);
    assert.deepEqual([ended.status, ended.result, ended.partial, ended.degraded, ended.progress.percent, ended.endedAt], ["completed", "all", true, true, 100, TIME]);
  });

  test("is the same from events of the stream, of the log, and from a snapshot in the middle", () => {
    const events = history(started(), begins("content_agent"), chunk("content_agent", "a"), chunk("content_agent", "b"), retries("content_agent"), chunk("content_agent", "c"));
    const whole = fold(events);
    const asLogged = events.map(({ agent_source, ...rest }) => ({ ...rest, source: agent_source, stream: "run:r-1" }));
    assert.deepEqual(fold(asLogged), whole);
    const middle = fold(events.slice(0, 4));
    const told = {
      run_id: "r-1",
      status: "running",
      mode: "nova",
      prompt: "write",
      session_id: null,
      agents: middle.agents.map(({ name, task, stage, status, text, writtenBy }) => ({ name, task_description: task, stage, status, text: String(text), written_by: writtenBy || null, retries: 0 })),
      progress: middle.progress,
      result: null,
      continues: null,
      created_at: TIME,
      ended_at: null,
      created_seq: 2,
      last_seq: 8,
    };
    const resumed = fold(events, runOf(told)); // the whole stream again: what the snapshot has is not doubled
    assert.equal(String(agentOf(resumed, "content_agent").text), "abc");
    assert.deepEqual(
      resumed.agents.map(({ text, ...rest }) => rest),
      whole.agents.map(({ text, ...rest }) => rest),
    );
    assert.deepEqual([resumed.lastSeq, resumed.status], [whole.lastSeq, whole.status]);
  });

  test("loses an agent's text when a retry discards it, and says until when it waits", () => {
    const run = fold(history(started(), begins("insight_agent"), chunk("insight_agent", "half", { degraded: true }), retries("insight_agent", { discards_text: true })));
    const waiting = agentOf(run, "insight_agent");
    assert.deepEqual([waiting.status, String(waiting.text), waiting.retries, waiting.errorType, waiting.nextTryAt - Date.parse(TIME), waiting.degraded], ["retrying", "", 1, "busy", 1500, false]);
    assert.equal(run.degraded, false);
    const again = agentOf(fold([{ event_type: "llm_chunk", payload: { agent: "insight_agent", content: "whole" }, timestamp: TIME, seq: 100 }], run), "insight_agent");
    assert.deepEqual([again.status, String(again.text), again.retries, again.errorType, again.nextTryAt], ["running", "whole", 1, "", null]);
  });

  test("keeps an agent's text when a retry does not discard it, and what a failed one had written", () => {
    const events = history(started(), begins("insight_agent"), chunk("insight_agent", "kept"), retries("insight_agent"), ["error", { agent: "insight_agent", error: "The model is busy.", error_type: "busy", status: "failed" }]);
    const failed = agentOf(fold(events), "insight_agent");
    assert.deepEqual([failed.status, String(failed.text), failed.errorType, failed.error, failed.nextTryAt], ["failed", "kept", "busy", "The model is busy.", null]);
  });

  test("begins again after a restart with the agents that had not ended", () => {
    const run = fold(history(started(), begins("insight_agent"), chunk("insight_agent", "x"), completes("insight_agent"), begins("content_agent"), chunk("content_agent", "y"), ["run_resumed", { restarts: AGENTS }]));
    assert.deepEqual([run.status, run.resumes], ["running", 1]);
    assert.deepEqual(run.agents.map(({ status, text }) => [status, String(text)]), [["completed", "x"], ["waiting", ""], ["waiting", ""], ["waiting", ""]]);
  });

  for (const [payload, status, reason] of [
    [{ status: "cancelled" }, "cancelled", "cancelled"],
    [{ status: "failed", reason: "timeout" }, "failed", "timeout"],
    [{ status: "failed", reason: "constructor" }, "failed", "internal"],
    [{}, "failed", "internal"],
  ]) {
    test(`ends as ${status} because of ${reason} after ${JSON.stringify(payload)}`, () => {
      const run = fold(history(started(), begins("insight_agent"), ["run_failed", payload]));
      assert.deepEqual([run.status, run.reason], [status, reason]);
      assert.equal(fold([{ event_type: "llm_chunk", payload: { agent: "insight_agent", content: "late" }, timestamp: TIME, seq: 90 }], run).agents[0].text.isEmpty, true);
    });
  }

  test("stays as it is after events that mean nothing, but knows that it has read them", () => {
    const begun = fold(history(started()));
    for (const [event_type, payload] of [
      ["note", {}],
      ["constructor", {}],
      ["toString", { agent: "insight_agent" }],
      ["run_started", { mode: "loomi", prompt: "another" }],
      ["llm_chunk", { agent: "insight_agent", content: "before its start" }],
      ["agent_start", { agent: "nobody" }],
      ["agent_start", null],
      ["llm_chunk", "text"],
    ]) {
      const run = fold([{ event_type, payload, timestamp: TIME, seq: 50 }], begun);
      assert.deepEqual({ ...run, lastSeq: 0 }, { ...begun, lastSeq: 0 }, event_type);
      assert.equal(run.lastSeq, 50);
    }
    for (const payload of [{}, { mode: "other", prompt: "x" }, { mode: "nova", prompt: " " }, { mode: "nova", prompt: 7 }]) {
      assert.equal(fold([{ event_type: "run_started", payload, timestamp: TIME, seq: 3 }]).status, "new");
    }
  });

  test("that names no agents has those of its mode; names twice, without a name and beyond sixteen are left out", () => {
    assert.deepEqual(fold(history(["run_started", { mode: "loomi", prompt: "x" }])).agents.map(({ stage }) => stage), [1, 2, 3, 4]);
    const named = [{ name: "a", stage: "x" }, { name: "a" }, { name: "no good" }, null, ...Array.from({ length: 20 }, (_, i) => ({ name: `a${i}` }))];
    const { agents } = fold(history(["run_started", { mode: "nova", prompt: "x", agents: named }]));
    assert.deepEqual([agents.length, agents[0].name, agents[0].stage, agents[1].name], [16, "a", 1, "a0"]);
  });
});

describe("a text that grows", () => {
  test("leaves the shorter one as it was, also when both grow on", () => {
    const one = NO_TEXT.plus("a").plus("b");
    const [left, right] = [one.plus("c"), one.plus("d")];
    assert.deepEqual([one, left, right, right.plus("e"), left.plus("f")].map(String), ["ab", "abc", "abd", "abde", "abcf"]);
    assert.equal(String(NO_TEXT), "");
    assert.equal(one.plus(""), one);
  });

  test("tells what is new since another one, and all of it where it does not continue it", () => {
    const one = new GrowingText("start");
    const longer = one.plus(" and").plus(" on");
    assert.deepEqual([longer.since(one), longer.since(NO_TEXT), longer.since(longer)], [" and on", "start and on", ""]);
    assert.deepEqual([longer.continues(one), one.continues(longer), new GrowingText("start").continues(one)], [true, false, false]);
    assert.equal(new GrowingText("start again").since(one), "start again");
  });

  test("counts characters as the server does", () => {
    assert.deepEqual(["abc", "长文", "👍🏽", "", "\ud83d"].map((text) => new GrowingText(text).characters), [3, 2, 2, 0, 1]);
    assert.equal(NO_TEXT.plus("👍").plus("a").characters, 2);
  });

  test("does not take quadratic time", () => {
    let text = NO_TEXT;
    for (let i = 0; i < 200_000; i += 1) text = text.plus("piece ");
    assert.equal(text.characters, 1_200_000); // copying the list at each piece would take minutes
    assert.equal(String(text).length, 1_200_000);
  });
});
