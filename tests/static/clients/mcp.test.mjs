/**
 * The promises of js/clients/mcp.js and reconnect.js: source 004's callbacks and numbers, one owner of reconnecting, tickets
 * instead of tokens in URLs, nothing twice and nothing left behind.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, describe, mock, test } from "node:test";

import { SSEClient } from "../../../server/static/js/clients/mcp.js";
import { delayBefore, Reconnector } from "../../../server/static/js/clients/retry-schedule.js";
import { answer, FakeClock, FakeEventSource, fakeBrowser, settle } from "../support/support.mjs";

const CALLBACKS = [
  "onConnectionOpen",
  "onToolStatusChange",
  "onPermissionRequest",
  "onToolResult",
  "onPermissionCleared",
  "onResultCleared",
  "onPermissionResponseResult",
  "onHeartbeat",
  "onError",
  "onMaxReconnectAttemptsReached",
];
let browser;
let called;
let asked;

/** A client on the fake browser; what it calls back is in `called`, what it asks the server in `asked`. */
function client(token = null, options = {}) {
  const made = new SSEClient("s-1", token, { jitter: 0, environment: browser.environment, ...options });
  for (const name of CALLBACKS) made[name] = (data) => called.push(data === undefined ? [name] : [name, data]);
  return made;
}

/** Connect, and say that the stream is there. */
async function connected(token, options) {
  const made = client(token, options);
  made.connect();
  await settle();
  FakeEventSource.last.ready(0, "e1", 15);
  return made;
}

const send = (event) => FakeEventSource.last.onmessage({ data: typeof event === "string" ? event : JSON.stringify(event) });
const names = () => called.map(([name]) => name);

beforeEach(() => {
  browser = fakeBrowser();
  called = [];
  asked = [];
  browser.environment.fetch = async (url, init = {}) => {
    asked.push({ url, method: init.method ?? "GET", headers: init.headers ?? {}, body: init.body && JSON.parse(init.body) });
    const next = browser.answers.shift() ?? new TypeError("network");
    if (next instanceof Error) throw next;
    return next;
  };
});

describe("delays", () => {
  test("are 1, 2, 4, 8 and 16 s", () => {
    assert.deepEqual([1, 2, 3, 4, 5].map((attempt) => delayBefore(attempt, 1000)), [1000, 2000, 4000, 8000, 16_000]);
  });

  test("are planned one at a time, begin again after a success, and end after the last attempt", async () => {
    const clock = new FakeClock();
    const tried = [];
    let hasGivenUp = 0;
    const environment = { setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, random: () => 1 };
    const reconnector = new Reconnector(environment, () => ({ attempts: 2, firstMs: 100, jitter: 0.5 }), () => tried.push(clock.now), () => (hasGivenUp += 1));
    const start = clock.now;
    reconnector.plan();
    reconnector.plan();
    assert.equal(clock.pending, 1);
    await clock.advance(1000);
    assert.deepEqual(tried.map((at) => at - start), [300]); // twice 100, and half of it by jitter
    reconnector.plan();
    assert.deepEqual([clock.pending, hasGivenUp], [0, 1]);
    reconnector.succeeded();
    reconnector.plan();
    assert.deepEqual([clock.pending, reconnector.attempts], [1, 1]);
    reconnector.cancel();
    assert.equal(clock.pending, 0);
  });
});

describe("events", () => {
  const STATUS = { status: "executing", tool_name: "rm", timestamp: "2026-01-01T00:00:00Z", details: {} };
  for (const [event, expected] of [
    [{ type: "tool_status", data: STATUS, seq: 1 }, ["onToolStatusChange", STATUS]],
    [{ type: "permission_request", data: { permission_id: "p-1" }, seq: 1 }, ["onPermissionRequest", { permission_id: "p-1" }]],
    [{ type: "tool_result", data: { success: true }, seq: 1 }, ["onToolResult", { success: true }]],
    [{ type: "permission_cleared", data: { permission_id: "p-1" }, seq: 1 }, ["onPermissionCleared", { permission_id: "p-1" }]],
    [{ type: "result_cleared", data: {}, seq: 1 }, ["onResultCleared", {}]],
    [{ type: "permission_response_result", data: { approved: true }, seq: 1 }, ["onPermissionResponseResult", { approved: true }]],
    [{ type: "heartbeat", timestamp: 1.5 }, ["onHeartbeat", 1.5]],
    [{ type: "error", message: "no", data: { message: "no" }, seq: 1 }, ["onError", "no"]],
  ]) {
    test(`of type ${event.type} call ${expected[0]}`, async () => {
      await connected();
      send(event);
      assert.deepEqual(called, [["onConnectionOpen"], expected]);
    });
  }

  test("of an unknown type are warned about, text that is no JSON is logged, and the stream goes on", async () => {
    const warned = mock.method(console, "warn", () => {});
    const logged = mock.method(console, "error", () => {});
    await connected();
    send({ type: "novelty", data: {}, seq: 1 });
    send("{");
    send("null");
    send({ type: "tool_result", data: {}, seq: 2 });
    assert.deepEqual(names(), ["onConnectionOpen", "onToolResult"]);
    assert.deepEqual([warned.mock.callCount(), logged.mock.callCount()], [2, 1]);
    mock.restoreAll();
  });

  test("that were told are not told again after an interruption, and the stream goes on from the last of them", async () => {
    await connected();
    send({ type: "tool_result", data: { n: 1 }, seq: 7 });
    send({ type: "heartbeat", timestamp: 1 });
    FakeEventSource.last.drop();
    await browser.clock.advance(1000);
    assert.deepEqual(FakeEventSource.last.query, { since_seq: "7", epoch: "e1" });
    FakeEventSource.last.ready(7, "e1", 15);
    send({ type: "tool_result", data: { n: 1 }, seq: 7 });
    send({ type: "tool_result", data: { n: 2 }, seq: 8 });
    assert.deepEqual(called.filter(([name]) => name === "onToolResult").map(([, { n }]) => n), [1, 2]);
  });

  test("of a log that begins anew are told from its beginning", async () => {
    await connected();
    send({ type: "tool_result", data: { n: 1 }, seq: 7 });
    FakeEventSource.last.control("reset", { oldest_seq: 1, head_seq: 2, epoch: "e2", reason: "other_epoch" });
    send({ type: "tool_result", data: { n: 2 }, seq: 1 });
    assert.deepEqual(called.filter(([name]) => name === "onToolResult").length, 2);
  });
});

describe("reconnecting", () => {
  test("is tried five times, after 1, 2, 4, 8 and 16 s, then it says that it gave up", async () => {
    await connected();
    called.length = 0;
    const opened = [];
    for (const seconds of [1, 2, 4, 8, 16]) {
      FakeEventSource.last.drop();
      await browser.clock.advance(seconds * 1000 - 1);
      const before = FakeEventSource.all.length;
      await browser.clock.advance(1);
      opened.push(FakeEventSource.all.length - before);
    }
    assert.deepEqual(opened, [1, 1, 1, 1, 1]);
    assert.deepEqual(names(), []);
    FakeEventSource.last.drop();
    assert.deepEqual(names(), ["onMaxReconnectAttemptsReached"]);
    assert.equal(browser.clock.pending, 0);
    assert.equal(FakeEventSource.open.length, 0);
  });

  test("begins again with the first delay after the stream was there", async () => {
    await connected();
    for (let i = 0; i < 8; i += 1) {
      FakeEventSource.last.drop();
      await browser.clock.advance(1000);
      FakeEventSource.last.ready(0, "e1", 15);
    }
    assert.equal(names().filter((name) => name === "onConnectionOpen").length, 9);
    assert.ok(!names().includes("onMaxReconnectAttemptsReached"));
  });

  test("has one owner: an interrupted source is closed, so the browser does not try as well", async () => {
    await connected();
    const first = FakeEventSource.last;
    first.drop();
    assert.equal(first.isClosed, true);
    await browser.clock.advance(60_000);
    assert.equal(FakeEventSource.open.length, 1);
  });

  test("comes after a refusal and an end of the server, too, and at once where the server asks for it", async () => {
    await connected();
    FakeEventSource.last.refuse();
    await browser.clock.advance(1000);
    FakeEventSource.last.ready(0, "e1", 15);
    FakeEventSource.last.control("end", { reason: "shutdown", retry_milliseconds: 1 });
    await browser.clock.advance(1000);
    FakeEventSource.last.ready(0, "e1", 15);
    FakeEventSource.last.control("rotate", { next_cursor: "0" });
    await settle();
    assert.equal(FakeEventSource.all.length, 4);
    assert.equal(FakeEventSource.open.length, 1);
  });

  test("follows a silence of two and a half heartbeats", async () => {
    await connected();
    await browser.clock.advance(30_000);
    send({ type: "heartbeat", timestamp: 1 });
    await browser.clock.advance(37_499);
    assert.equal(FakeEventSource.all.length, 1);
    await browser.clock.advance(1001);
    assert.equal(FakeEventSource.all.length, 2);
  });

  test("spends no attempt while there is no network, and is there when it comes back, even after giving up", async () => {
    const made = await connected();
    browser.isOnline = false;
    FakeEventSource.last.drop();
    assert.equal(browser.clock.pending, 0);
    await browser.clock.advance(600_000);
    browser.isOnline = true;
    await browser.dispatch("online");
    assert.equal(FakeEventSource.open.length, 1);
    made.maxReconnectAttempts = 0;
    FakeEventSource.last.drop();
    assert.equal(names().at(-1), "onMaxReconnectAttemptsReached");
    await browser.dispatch("online");
    assert.equal(FakeEventSource.open.length, 1);
  });

  test("stops with disconnect(): no timer, no listener, no callback is left", async () => {
    const made = await connected();
    const source = FakeEventSource.last;
    source.drop();
    made.disconnect();
    called.length = 0;
    assert.deepEqual([browser.clock.pending, browser.listeners, FakeEventSource.open.length], [0, 0, 0]);
    await browser.clock.advance(60_000);
    await browser.dispatch("online");
    assert.deepEqual([FakeEventSource.all.length, called.length, made.isConnected], [1, 0, false]);
  });

  test("of a client that is connected twice leaves one connection", async () => {
    const made = await connected();
    made.connect();
    made.connect();
    await settle();
    assert.equal(FakeEventSource.open.length, 1);
    assert.equal(browser.listeners, 1);
  });

  test("adds jitter where it is asked for", async () => {
    await connected(null, { jitter: 0.5 });
    FakeEventSource.last.drop(); // the fake's random number is a half
    await browser.clock.advance(1249);
    assert.equal(FakeEventSource.all.length, 1);
    await browser.clock.advance(1);
    assert.equal(FakeEventSource.all.length, 2);
  });
});

describe("a token", () => {
  test("stands in no URL: each connection has a new ticket for its stream", async () => {
    browser.answers = [answer(201, { ticket: "t-1" }), answer(201, { ticket: "t-2" })];
    await connected("secret");
    FakeEventSource.last.drop();
    await browser.clock.advance(1000);
    assert.deepEqual(FakeEventSource.all.map(({ query }) => query.ticket), ["t-1", "t-2"]);
    assert.deepEqual(asked[0].body, { streams: ["mcp:s-1"] });
    assert.equal(asked[0].headers.Authorization, "Bearer secret");
    for (const url of [...FakeEventSource.all.map((source) => source.url.href), ...asked.map((each) => each.url)]) assert.doesNotMatch(url, /secret/);
  });

  test("may be a function, which is asked for each connection", async () => {
    browser.answers = [answer(201, { ticket: "t-1" }), answer(201, { ticket: "t-2" })];
    let count = 0;
    await connected(async () => `token-${(count += 1)}`);
    FakeEventSource.last.drop();
    await browser.clock.advance(1000);
    assert.deepEqual(asked.map(({ headers }) => headers.Authorization), ["Bearer token-1", "Bearer token-2"]);
  });

  test("that is refused is told, and counts as an attempt", async () => {
    browser.answers = [answer(401, { error: { message: "a valid token is needed" } })];
    client("wrong").connect();
    await settle();
    assert.deepEqual(called, [["onError", "a valid token is needed"]]);
    assert.deepEqual([FakeEventSource.all.length, browser.clock.pending], [0, 1]);
  });

  test("whose ticket comes after disconnect() opens nothing", async () => {
    browser.answers = [answer(201, { ticket: "t-1" })];
    const made = client("secret");
    made.connect();
    made.disconnect();
    await settle();
    assert.deepEqual([FakeEventSource.all.length, browser.clock.pending, called.length], [0, 0, 0]);
  });
});

describe("answers", () => {
  const ask = (id, seq) => send({ type: "permission_request", data: { permission_id: id }, seq });

  test("name the request that waits, and say whether they count", async () => {
    const made = await connected(null, { headers: () => ({ "X-CSRF-Token": "c-1" }) });
    ask("p-1", 1);
    browser.answers = [answer(200, { success: true })];
    assert.equal(await made.approvePermission(true, "user approved"), true);
    assert.deepEqual(asked[0].body, { approved: true, reason: "user approved", permission_id: "p-1" });
    assert.equal(asked[0].url, "/agent_backend/api/sse/permission-response/s-1");
    assert.equal(asked[0].headers["X-CSRF-Token"], "c-1");
  });

  test("choose none of several: the server is asked without an id, and refuses", async () => {
    const made = await connected();
    ask("p-1", 1);
    ask("p-2", 2);
    browser.answers = [answer(409, { error: { message: "two wait" } }), answer(200, { success: true })];
    assert.equal(await made.approvePermission(false), false);
    assert.deepEqual(asked[0].body, { approved: false, reason: "" });
    assert.deepEqual(called.at(-1), ["onError", "two wait"]);
    assert.equal(await made.approvePermission(false, "", "p-2"), true);
    assert.equal(asked[1].body.permission_id, "p-2");
  });

  test("forget what has been settled", async () => {
    const made = await connected();
    ask("p-1", 1);
    ask("p-2", 2);
    send({ type: "permission_response_result", data: { permission_id: "p-1" }, seq: 3 });
    browser.answers = [answer(200, { success: true })];
    await made.approvePermission(true);
    assert.equal(asked[0].body.permission_id, "p-2");
  });

  test("that do not get through are false, never an error", async () => {
    const made = await connected();
    assert.equal(await made.approvePermission(true, "", "p-1"), false);
    browser.answers = [new Response("<html>", { status: 502 })];
    assert.equal(await made.approvePermission(true, "", "p-1"), false);
    assert.deepEqual(called.at(-1), ["onError", "HTTP 502"]);
  });

  test("of the health are null on failure", async () => {
    const made = client("secret");
    browser.answers = [answer(200, { status: "healthy" }), answer(404, {}), new TypeError("network")];
    assert.deepEqual(await made.checkHealth(), { status: "healthy" });
    assert.equal(await made.checkHealth(), null);
    assert.equal(await made.checkHealth(), null);
    assert.equal(asked.at(-1).url, "/agent_backend/api/sse/health/s-1");
    assert.equal(asked.at(-1).headers.Authorization, "Bearer secret");
  });
});

test("the declarations and the sample know every callback", () => {
  const read = (name) => readFileSync(new URL(`../../../server/static/${name}`, import.meta.url), "utf8");
  for (const name of CALLBACKS) assert.match(read("types/mcp.d.ts"), new RegExp(`\\b${name}: `), name);
  for (const name of CALLBACKS.filter((each) => each !== "onHeartbeat")) assert.match(read("samples/MCPToolMonitor.tsx"), new RegExp(`\\.${name} = `), name);
});
