/** The promises of js/tools/state.js: what runs, what waits for an answer, and what happened, whatever anybody appended. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { EMPTY_ROOM, foldRoom, riskOf, toolEventOf, withDeadlines } from "../../../server/static/js/tools/state.js";

let seq;
beforeEach(() => {
  seq = 0;
});
const at = (type, data = {}) => toolEventOf({ type, data: { timestamp: `2026-01-01T00:00:0${seq % 10}.000Z`, ...data }, seq: ++seq });
const ask = (id, extra = {}) => at("permission_request", { permission_id: id, tool_name: "rm", parameters: { path: "/" }, risk_level: "high", expires_within_seconds: 60, ...extra });
const folded = (...events) => events.reduce(foldRoom, EMPTY_ROOM);
const waiting = (room) => room.prompts.map(({ id }) => id);

describe("an event", () => {
  test("is read in source 004's shape and in the log's own", () => {
    const streamed = toolEventOf({ type: "tool_status", data: { tool_name: "a", timestamp: "2026-01-01T00:00:00.000Z" }, seq: 1 });
    const polled = toolEventOf({ event_type: "tool_status", payload: { tool_name: "a", timestamp: "2026-01-01T00:00:00.000Z" }, timestamp: "later", seq: 1 });
    assert.deepEqual(streamed, polled);
  });
});

describe("requests", () => {
  test("wait side by side, oldest first, until each has its own answer", () => {
    const asked = folded(ask("p-1"), ask("p-2"));
    assert.deepEqual(waiting(asked), ["p-1", "p-2"]);
    const answered = foldRoom(asked, at("permission_response_result", { permission_id: "p-1", approved: true, actor: "alice" }));
    assert.deepEqual(waiting(answered), ["p-2"]);
  });

  test("are gone when they are taken back, and what settles one twice is told once", () => {
    const room = folded(ask("p-1"), at("permission_response_result", { permission_id: "p-1" }), at("permission_cleared", { permission_id: "p-1" }), ask("p-2"), at("permission_cleared", { permission_id: "p-2" }));
    assert.deepEqual(waiting(room), []);
    assert.deepEqual(room.history.map(({ type }) => type), ["permission_cleared", "permission_request", "permission_response_result", "permission_request"]);
  });

  test("that were answered do not come back when they are asked again, nor twice", () => {
    assert.deepEqual(waiting(folded(ask("p-1"), ask("p-1"))), ["p-1"]);
    assert.deepEqual(waiting(folded(ask("p-1"), at("permission_response_result", { permission_id: "p-1" }), ask("p-1"))), []);
  });

  test("have the end that their time gives them, and the server's count is the better one", () => {
    const room = folded(ask("p-1"), ask("p-2", { expires_within_seconds: "soon" }));
    assert.deepEqual(room.prompts.map(({ deadline }) => deadline), [Date.parse("2026-01-01T00:01:00.000Z"), null]);
    assert.equal(folded(ask("p-3", { expires_within_seconds: 1e9 })).prompts[0].deadline, Date.parse("2026-01-02T00:00:02.000Z"));
    const corrected = withDeadlines(room, [{ permission_id: "p-2", expires_in_seconds: 5 }, { permission_id: "p-9", expires_in_seconds: 1 }, {}], 1000);
    assert.deepEqual(corrected.prompts.map(({ deadline }) => deadline), [room.prompts[0].deadline, 6000]);
  });

  test("of an unknown risk count as high", () => {
    assert.deepEqual(["low", "medium", "high", "none", undefined, 7].map(riskOf), ["low", "medium", "high", "high", "high", "high"]);
  });
});

describe("tools", () => {
  test("have been in their status since it began, not since it was last reported", () => {
    const room = folded(
      at("tool_status", { tool_name: "a", status: "executing", details: { parameters: { n: 1 }, risk_level: "medium" } }),
      at("tool_status", { tool_name: "a", status: "executing", details: { parameters: { n: 2 } } }),
    );
    assert.deepEqual(room.tools.a, { name: "a", status: "executing", since: "2026-01-01T00:00:00.000Z", parameters: { n: 2 }, risk: "", seq: 2 });
    assert.equal(foldRoom(room, at("tool_status", { tool_name: "a", status: "completed" })).tools.a.since, "2026-01-01T00:00:02.000Z");
  });

  test("may have any name", () => {
    const room = folded(at("tool_status", { tool_name: "constructor", status: "executing" }), at("tool_status", { tool_name: "constructor", status: "done" }));
    assert.equal(room.tools.constructor.status, "done");
  });
});

describe("results", () => {
  test("end the tool that brought them, and no other", () => {
    const room = folded(
      at("tool_status", { tool_name: "a", status: "executing" }),
      at("tool_status", { tool_name: "b", status: "executing" }),
      at("tool_status", { tool_name: "c", status: "executing" }),
      at("tool_result", { tool_name: "a", success: true }),
      at("tool_result", { tool_name: "b", success: false }),
      at("tool_result", { tool_name: "toString", success: true }),
    );
    assert.deepEqual(Object.entries(room.tools).map(([name, { status }]) => [name, status]), [["a", "completed"], ["b", "failed"], ["c", "executing"]]);
  });

  test("are shown newest first, errors among them, until they are cleared", () => {
    const room = folded(
      at("tool_result", { tool_name: "a", success: true, result: 1 }),
      at("tool_result", { tool_name: "b", success: false, result: null }),
      at("error", { message: "no" }),
    );
    assert.deepEqual(room.results.map(({ kind, tool, isSuccess }) => [kind, tool, isSuccess]), [["error", "", false], ["result", "b", false], ["result", "a", true]]);
    assert.deepEqual(foldRoom(room, at("result_cleared", { tool_name: "b" })).results.map(({ tool }) => tool), ["", "a"]);
    assert.deepEqual(foldRoom(room, at("result_cleared")).results, []);
  });

  test("do not grow without end", () => {
    const room = folded(...Array.from({ length: 400 }, (_, n) => at("tool_result", { tool_name: "a", success: true, result: n })));
    assert.equal(room.results.length, 50);
    assert.equal(room.history.length, 300);
    assert.equal(room.count, 400);
  });
});

test("garbage is kept as history and moves nothing else", () => {
  for (const type of ["tool_status", "permission_request", "permission_response_result", "permission_cleared", "tool_result", "result_cleared", "error", "else", ""]) {
    for (const data of [null, [], "text", { tool_name: 7, status: {}, permission_id: [], parameters: "x", details: 3, message: {} }]) {
      const room = foldRoom(EMPTY_ROOM, toolEventOf({ type, data, seq: 1 }));
      assert.equal(room.history.length, 1);
      assert.deepEqual([room.tools, room.prompts], [{}, []]);
    }
  }
});
