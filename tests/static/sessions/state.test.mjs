/** The promises of js/sessions/state.js: a session and the queue are what their events say, whatever else anybody appended. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { EMPTY_QUEUE, foldQueue, foldSession, longestFirst, messageOf, newSession, permitted, queueOf } from "../../../server/static/js/sessions/state.js";

let seq = 0;
const at = (type, payload = {}) => ({ type, payload, timestamp: "2026-01-01T00:00:00.000Z", seq: ++seq });
const said = (role, content, extra = {}) => at("new_message", { role, content, ...extra });
const became = (status, extra = {}) => at("status_change", { session_name: "v", status, ...extra });
const folded = (...messages) => messages.reduce(foldSession, newSession("v"));

describe("an event", () => {
  test("is read in source 001's shape and in the log's own", () => {
    const streamed = messageOf({ type: "new_message", payload: { a: 1 }, timestamp: 1_767_225_600, seq: 4, source: "ai_chatbot" });
    const polled = messageOf({ event_type: "new_message", payload: { a: 1 }, timestamp: "2026-01-01T00:00:00.000Z", seq: 4 });
    assert.deepEqual(streamed, polled);
  });

  test("of any garbage is read without an error", () => {
    for (const garbage of [{}, { type: 7, payload: [1], timestamp: null }, { payload: "text", seq: "x" }]) {
      assert.deepEqual(folded(messageOf(garbage)).entries, []);
    }
  });
});

describe("a session", () => {
  test("goes from the bot to a human and back, with every step in its talk", () => {
    const session = folded(
      said("user", "hello"),
      at("transfer_request", { reason: "too hard" }),
      became("waiting_agent", { reason: "too hard" }),
      became("with_operator", { agent_id: "alice" }),
      said("operator", "hi", { agent_id: "alice" }),
      became("bot", { agent_id: "alice" }),
    );
    assert.deepEqual([session.status, session.agentId, session.reason], ["bot", "", ""]);
    assert.deepEqual(
      session.entries.map(({ kind, role, agentId }) => [kind, role, agentId]),
      [
        ["message", "user", ""],
        ["status", "waiting_agent", ""],
        ["status", "with_operator", "alice"],
        ["message", "operator", "alice"],
        ["status", "bot", "alice"],
      ],
    );
  });

  test("is closed once, and nothing follows", () => {
    const closed = folded(said("user", "hello"), became("waiting_agent"), became("with_operator", { agent_id: "a" }), became("closed", { agent_id: "a" }));
    const later = [at("session_closed"), became("waiting_agent"), became("bot")].reduce(foldSession, closed);
    assert.equal(later.status, "closed");
    assert.equal(later.entries.length, closed.entries.length);
  });

  test("is ended by session_closed alone, too, but not before it began", () => {
    assert.equal(folded(said("user", "x"), at("session_closed", { agent_id: "a" })).status, "closed");
    assert.equal(folded(at("session_closed")).status, "new");
  });

  for (const [name, ...messages] of [
    ["a takeover of what nobody asked for", said("user", "x"), became("with_operator", { agent_id: "a" })],
    ["a takeover by nobody", said("user", "x"), became("with_operator")],
    ["a status that is none", said("user", "x"), became("paused"), became("toString")],
    ["a message of a role that is none", said("user", "x"), said("admin", "y"), said("user", ""), said("user", 7)],
    ["another type", said("user", "x"), at("note", { text: "z" }), at("__proto__")],
  ]) {
    test(`is not moved by ${name}`, () => {
      const session = folded(...messages);
      assert.equal(session.status, "bot");
      assert.equal(session.entries.length, 1);
    });
  }

  for (const [status, agentId, expected] of [
    ["new", "", { canTakeOver: false, canSpeak: false, canRelease: false, canAsk: true, canWrite: true }],
    ["bot", "", { canTakeOver: false, canSpeak: false, canRelease: false, canAsk: true, canWrite: true }],
    ["waiting_agent", "", { canTakeOver: true, canSpeak: false, canRelease: false, canAsk: false, canWrite: true }],
    ["with_operator", "alice", { canTakeOver: false, canSpeak: true, canRelease: true, canAsk: false, canWrite: true }],
    ["with_operator", "bob", { canTakeOver: false, canSpeak: false, canRelease: false, canAsk: false, canWrite: true }],
    ["closed", "", { canTakeOver: false, canSpeak: false, canRelease: false, canAsk: false, canWrite: false }],
  ]) {
    test(`offers alice in ${status} of ${agentId || "nobody"} what the server allows`, () => {
      assert.deepEqual(permitted({ ...newSession("v"), status, agentId }, "alice"), expected);
    });
  }

  test("offers nothing to an operator without an id", () => {
    const { canTakeOver, canSpeak } = permitted({ ...newSession("v"), status: "waiting_agent" }, "");
    assert.deepEqual([canTakeOver, canSpeak], [false, false]);
  });
});

describe("the queue", () => {
  const change = (name, status, extra = {}, timestamp = "2026-01-01T00:00:00.000Z") => ({ ...at("status_change", { session_name: name, status, ...extra }), timestamp });
  const fold = (...messages) => messages.reduce((queue, message) => foldQueue(queue, message, "alice"), EMPTY_QUEUE);

  test("takes in who asks for a human, and lets go of who has been taken over", () => {
    const waiting = fold(change("one", "waiting_agent", { reason: "late" }), change("two", "waiting_agent"));
    assert.deepEqual(Object.keys(waiting.waiting), ["one", "two"]);
    assert.equal(waiting.waiting.one.reason, "late");
    const taken = [change("one", "with_operator", { agent_id: "alice" }), change("two", "with_operator", { agent_id: "bob" })].reduce(
      (queue, message) => foldQueue(queue, message, "alice"),
      waiting,
    );
    assert.deepEqual([Object.keys(taken.waiting), Object.keys(taken.mine)], [[], ["one"]]);
    assert.equal(taken.mine.one.reason, "late");
    assert.deepEqual(foldQueue(taken, change("one", "bot", { agent_id: "alice" }), "alice"), EMPTY_QUEUE);
  });

  test("is the same when each event comes twice, as on the queue and on the operator's own stream", () => {
    const messages = [change("one", "waiting_agent"), change("one", "with_operator", { agent_id: "alice" }), change("one", "closed", { agent_id: "alice" })];
    assert.deepEqual(fold(...messages.flatMap((each) => [each, each])), fold(...messages));
  });

  test("is not moved by garbage", () => {
    for (const garbage of [at("transfer_request", { session_name: "one" }), change("a b", "waiting_agent"), change("one", "lost"), change("", "waiting_agent"), at("status_change", { session_name: {} })]) {
      assert.equal(foldQueue(EMPTY_QUEUE, garbage, "alice"), EMPTY_QUEUE);
    }
  });

  test("begins with the lists of the server, of which others' sessions are left out", () => {
    const handled = [{ session_name: "b", agent_id: "bob" }, { session_name: "c", agent_id: "alice", updated_at: "2026-01-01T00:00:00.000Z" }];
    const queue = queueOf([{ session_name: "a", reason: null, waiting_since: "2026-01-01T00:00:00.000Z" }], handled, "alice");
    assert.deepEqual([Object.keys(queue.waiting), Object.keys(queue.mine)], [["a"], ["c"]]);
  });

  test("is shown with who waits longest first, by place in the log: the stream tells times in whole seconds", () => {
    const waiting = [
      { session_name: "b", waiting_since: "2026-01-01T00:00:01.400Z", status_seq: 4 },
      { session_name: "a", waiting_since: "2026-01-01T00:00:01.600Z", status_seq: 7 },
    ];
    const late = { ...change("c", "waiting_agent", {}, "2026-01-01T00:00:01.000Z"), seq: 9 };
    assert.deepEqual(longestFirst(foldQueue(queueOf(waiting, [], "alice"), late, "alice").waiting).map(({ name }) => name), ["b", "a", "c"]);
  });
});
