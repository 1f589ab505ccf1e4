/**
 * The promises of js/clients/nova.js and what it is made of: source 003's client, one generation per client whatever breaks,
 * each event told once, and nothing left behind.
 */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

import { FrameReader } from "../../../server/static/js/clients/frames.js";
import { NovaSSEClient, SSEClient } from "../../../server/static/js/clients/nova.js";
import { answer, FakeEventSource, fakeBrowser, page, settle } from "../support/support.mjs";

const EVENTS = ["connected", "llm_chunk", "agent_start", "agent_complete", "progress", "retrying", "error", "run_started", "run_resumed", "run_complete", "run_failed", "transport_error"];
let browser;
let posted;
let told;
let client;
let answers;

/** A client on the fake browser; what it tells is in `told`. */
function open(url = "/novachat", options = { body: { prompt: "tea" } }) {
  client = new SSEClient(url, { environment: browser.environment, ...options });
  for (const name of EVENTS) client.on(name, (data) => told.push([name, data]));
  return client;
}

/** An answer to a POST whose body the test writes. */
function body(headers = { "X-Run-Id": "r-1" }) {
  const encoder = new TextEncoder();
  let controller;
  const stream = new ReadableStream({ start: (given) => void (controller = given) });
  return {
    response: new Response(stream, { headers: { "Content-Type": "text/event-stream", ...headers } }),
    write: async (text) => {
      controller.enqueue(typeof text === "string" ? encoder.encode(text) : text);
      await settle();
    },
    end: async () => {
      controller.close();
      await settle();
    },
    fail: async () => {
      controller.error(new TypeError("reset"));
      await settle();
    },
  };
}

/** Start a generation whose answer the test writes. */
async function started() {
  const written = body();
  answers = [written.response];
  open().connect();
  await settle();
  return written;
}

const event = (seq, event_type = "llm_chunk", payload = { content: `c${seq}` }, agent_source = "llm_client") => ({ event_type, agent_source, timestamp: "2026-01-01T00:00:00.000Z", payload, seq, revision: seq, event_id: `id-${seq}`, run_id: "r-1" });
const frame = (...given) => `data: ${JSON.stringify(event(...given))}\nid: ${given[0]}.123456\n\n`;
const control = (name, data) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const names = () => told.map(([name]) => name);
const chunks = () => told.filter(([name]) => name === "llm_chunk").map(([, { payload }]) => payload.content);
const troubles = () => told.filter(([name]) => name === "transport_error").map(([, { payload }]) => payload);

beforeEach(() => {
  browser = fakeBrowser();
  [posted, told, answers, client] = [[], [], [], null];
  const { fetch: get } = browser.environment;
  browser.environment.fetch = async (url, init = {}) => {
    if (init.method !== "POST") return get(url, init);
    posted.push({ url, headers: init.headers, body: JSON.parse(init.body) });
    const next = answers.shift() ?? new TypeError("network");
    if (next instanceof Error) throw next;
    return next;
  };
});

afterEach(async () => {
  client?.disconnect();
  await settle();
  assert.equal(browser.clock.pending, 0, "a timer is left");
  assert.equal(browser.listeners, 0, "a listener is left");
  assert.equal(FakeEventSource.open.length, 0, "a connection is left");
});

describe("frames", () => {
  const TEXT = ": hello\r\nevent: ready\r\ndata: {\"a\":1}\r\n\r\nid: 3\ndata:two\ndata: lines\n\nretry: 5\rdata\r\revent: empty\n\ndata: 你好\n\n";
  const FRAMES = [
    { name: "ready", data: '{"a":1}', id: "" },
    { name: "event", data: "two\nlines", id: "3" },
    { name: "event", data: "", id: "3" },
    { name: "event", data: "你好", id: "3" },
  ];

  test("are the same wherever the text is cut", () => {
    for (let size = 1; size <= TEXT.length; size += 1) {
      const reader = new FrameReader();
      const found = [];
      for (let at = 0; at < TEXT.length; at += size) found.push(...reader.push(TEXT.slice(at, at + size)));
      assert.deepEqual(found, FRAMES, `pieces of ${size}`);
    }
  });

  test("do not begin with a byte order mark, and what is not whole is not told", () => {
    const reader = new FrameReader();
    assert.deepEqual(reader.push("\uFEFFdata: a\n\ndata: b\n"), [{ name: "event", data: "a", id: "" }]);
    assert.deepEqual(reader.push("\n"), [{ name: "event", data: "b", id: "" }]);
  });
});

describe("events", () => {
  for (const [type, method] of [
    ["llm_chunk", "handleLLMChunk"],
    ["agent_start", "handleAgentStart"],
    ["agent_complete", "handleAgentComplete"],
    ["error", "handleError"],
  ]) {
    test(`of type ${type} go through ${method}, which may be replaced`, () => {
      open();
      client.handleEvent(event(1, type, { n: 1 }, "insight_agent"));
      assert.deepEqual(told, [[type, { agentSource: "insight_agent", payload: { n: 1 } }]]);
      client[method] = (...given) => told.push(["mine", ...given]);
      client.handleEvent(event(2, type, { n: 2 }, "insight_agent"));
      assert.deepEqual(told[1], ["mine", "insight_agent", { n: 2 }]);
    });
  }

  for (const type of ["progress", "retrying", "run_started", "run_resumed", "run_complete", "run_failed"]) {
    test(`of type ${type} are told`, () => {
      open().handleEvent(event(1, type, { n: 1 }, "nova"));
      assert.deepEqual(told, [[type, { agentSource: "nova", payload: { n: 1 } }]]);
    });
  }

  test("of an unknown type are logged, and garbage does no harm", () => {
    const warned = mock.method(console, "warn", () => {});
    open();
    for (const given of [{ event_type: "novelty" }, null, {}, { event_type: "llm_chunk" }]) client.handleEvent(given);
    assert.deepEqual([warned.mock.callCount(), told], [3, [["llm_chunk", { agentSource: "unknown", payload: {} }]]]);
    mock.restoreAll();
  });

  test("are heard by all listeners, until off()", () => {
    const logged = mock.method(console, "error", () => {});
    open();
    const heard = [];
    const one = ({ payload }) => heard.push(["one", payload]);
    const two = ({ payload }) => heard.push(["two", payload]);
    client.on("mine", () => assert.fail("boom")).on("mine", one).on("mine", two);
    client.emit("mine", { agentSource: "x", payload: 1 });
    client.off("mine", one);
    client.emit("mine", { agentSource: "x", payload: 2 });
    client.off("mine");
    client.emit("mine", { agentSource: "x", payload: 3 });
    assert.deepEqual([heard, logged.mock.callCount()], [[["one", 1], ["two", 1], ["two", 2]], 2]);
    mock.restoreAll();
  });

  test("come from the class under both names", () => {
    assert.equal(NovaSSEClient, SSEClient);
  });
});

describe("with a body", () => {
  test("connect() posts it, takes the id of the run, and tells what comes", async () => {
    const written = body();
    answers = [written.response];
    open("/novachat", { body: { prompt: "tea" }, headers: () => ({ "X-CSRF-Token": "t" }), baseUrl: "http://example.com/" }).connect();
    await settle();
    assert.deepEqual(posted, [{ url: "http://example.com/novachat", headers: { "Content-Type": "application/json", Accept: "text/event-stream", "X-CSRF-Token": "t" }, body: { prompt: "tea" } }]);
    assert.deepEqual([client.runId, client.isConnected, told], ["r-1", true, [["connected", { agentSource: "transport", payload: { run_id: "r-1" } }]]]);
    await written.write(frame(1, "run_started", {}) + control("ready", { epoch: "e1", head_seq: 1 }) + ": keepalive\n" + frame(2));
    await written.write(frame(3, "run_complete", { status: "completed" }) + control("end", { reason: "run_complete", last_seq: 3 }));
    assert.deepEqual(names(), ["connected", "run_started", "llm_chunk", "run_complete"]);
    assert.deepEqual([client.isConnected, FakeEventSource.all.length], [false, 0]);
    client.connect();
    assert.deepEqual([posted.length, FakeEventSource.all.length], [1, 0], "a generation that is over is not begun again");
  });

  test("characters that are cut between pieces are whole", async () => {
    const written = await started();
    const bytes = new TextEncoder().encode(frame(1, "llm_chunk", { content: "茶🍵" }));
    for (const byte of bytes) await written.write(new Uint8Array([byte]));
    assert.deepEqual(chunks(), ["茶🍵"]);
  });

  for (const [name, breakOff] of [
    ["ends too early", (written) => written.end()],
    ["breaks", (written) => written.fail()],
    ["falls silent", () => browser.clock.advance(37_500)],
    ["rotates", (written) => written.write(control("rotate", { next_cursor: "2" }))],
    ["ends because the server stops", (written) => written.write(control("end", { reason: "shutdown", last_seq: 2 }))],
  ]) {
    test(`when the answer ${name}, the rest is read by GET, and nothing is told twice`, async () => {
      const written = await started();
      await written.write(frame(1) + control("ready", { epoch: "e1" }) + frame(2));
      await breakOff(written);
      const source = FakeEventSource.last;
      assert.equal(source.url.pathname, "/api/runs/r-1/events");
      assert.deepEqual(source.query, { since_seq: "2.123456", epoch: "e1", keepalive: "event" });
      for (const given of [event(2), event(3)]) source.onmessage({ data: JSON.stringify(given), lastEventId: `${given.seq}.123456` });
      source.ready(3);
      source.control("end", { reason: "run_complete", last_seq: 3 });
      assert.deepEqual([chunks(), posted.length, client.isConnected], [["c1", "c2", "c3"], 1, false]);
      assert.deepEqual(names(), ["connected", "llm_chunk", "llm_chunk", "connected", "llm_chunk"]);
    });
  }

  test("keepalives keep the answer alive", async () => {
    const written = await started();
    for (let i = 0; i < 5; i += 1) {
      await browser.clock.advance(30_000);
      await written.write(": keepalive\n");
    }
    assert.equal(FakeEventSource.all.length, 0);
  });

  test("an answer that ends after its last event is not followed, whatever frames are missing", async () => {
    const written = await started();
    await written.write(frame(1, "run_failed", { reason: "timeout" }));
    await written.end();
    assert.deepEqual([FakeEventSource.all.length, troubles()], [0, []]);
  });

  test("the id of the run comes with the events too, where the header does not pass", async () => {
    const written = body({});
    answers = [written.response];
    open().connect();
    await settle();
    await written.write(frame(1));
    await written.end();
    assert.equal(FakeEventSource.last.url.pathname, "/api/runs/r-1/events");
  });

  test("no second generation is started when it is not known whether there is a first one", async () => {
    answers = [new TypeError("network")];
    open().connect();
    await settle();
    await browser.clock.advance(600_000);
    assert.deepEqual([posted.length, troubles()], [1, [{ error: "the answer broke off before the generation was known", error_type: "network", will_retry: false }]]);
  });

  test("without room at the server it comes back after Retry-After, five times at most", async () => {
    answers = Array.from({ length: 9 }, () => answer(429, { error: { code: "too_many_requests", message: "full" } }, { "Retry-After": "3" }));
    open().connect();
    await settle();
    assert.deepEqual([posted.length, names()], [1, []]);
    await browser.clock.advance(4499);
    assert.equal(posted.length, 1);
    await browser.clock.advance(1);
    assert.equal(posted.length, 2);
    await browser.clock.advance(600_000);
    assert.equal(posted.length, 6);
    assert.deepEqual(troubles().map(({ error_type }) => error_type), ["too_many_requests"]);
  });

  for (const [status, code] of [
    [400, "invalid_request"],
    [401, "unauthorized"],
    [413, "too_large"],
    [422, "invalid_body"],
    [500, "internal"],
  ]) {
    test(`${status} is told as a trouble of the transport, and nothing is tried again`, async () => {
      answers = [answer(status, { error: { code, message: "no" } })];
      open().connect();
      await settle();
      await browser.clock.advance(600_000);
      assert.deepEqual([names(), troubles(), posted.length], [["transport_error"], [{ error: "no", error_type: code, will_retry: false }], 1]);
    });
  }

  test("disconnect() ends everything, and connect() goes on with the same generation", async () => {
    const written = await started();
    await written.write(frame(1));
    client.disconnect();
    await written.write(frame(2)).catch(() => {});
    assert.deepEqual([chunks(), client.isConnected, browser.clock.pending], [["c1"], false, 0]);
    client.connect();
    assert.deepEqual([posted.length, FakeEventSource.last.query.since_seq], [1, "1.123456"]);
  });
});

describe("without a body", () => {
  const URL = "/api/runs/r-7/events?since_seq=4&x_color=red";

  test("connect() follows the run of the url from its cursor", () => {
    open(URL, {}).connect();
    assert.deepEqual(FakeEventSource.last.query, { since_seq: "4", keepalive: "event", x_color: "red" });
    FakeEventSource.last.ready(4);
    assert.deepEqual(told, [["connected", { agentSource: "transport", payload: { run_id: "r-7" } }]]);
    assert.equal(client.isConnected, true);
  });

  test("a run that ends in its replay was connected all the same", async () => {
    open(URL, {}).connect();
    FakeEventSource.last.onmessage({ data: JSON.stringify(event(5)) });
    FakeEventSource.last.onmessage({ data: JSON.stringify(event(6)) });
    FakeEventSource.last.control("end", { reason: "run_complete", last_seq: 6 });
    assert.deepEqual(names(), ["connected", "llm_chunk", "llm_chunk"]);
    assert.equal(client.isConnected, false);
  });

  test("an interruption is told, and it goes on after the last event", async () => {
    open("http://example.com/api/runs/r-7/events", {}).connect();
    FakeEventSource.last.ready(0);
    FakeEventSource.last.onmessage({ data: JSON.stringify(event(5)) });
    FakeEventSource.last.drop();
    assert.deepEqual(troubles(), [{ error: "the connection was lost and is tried again", error_type: "network", will_retry: true }]);
    await browser.clock.advance(500);
    assert.equal(FakeEventSource.last.url.origin, "http://example.com");
    assert.deepEqual([FakeEventSource.last.query.since_seq, FakeEventSource.last.query.epoch], ["5", "e1"]);
    FakeEventSource.last.ready(5);
    assert.deepEqual(names(), ["connected", "llm_chunk", "transport_error", "connected"]);
  });

  test("events that polls bring are told as those of the stream", async () => {
    open("/api/runs/r-7/events", {}).connect();
    const canonical = { ...event(1), stream: "run:r-7", source: "content_agent", agent_source: undefined };
    for (let i = 0; i < 4; i += 1) {
      if (i === 3) browser.answers = [answer(200, page([canonical]))];
      FakeEventSource.last.drop();
      await settle();
      if (i < 3) await browser.clock.advance(30_000);
    }
    assert.equal(browser.polled.at(-1).searchParams.get("stream"), "run:r-7");
    assert.deepEqual(told.at(-1), ["llm_chunk", { agentSource: "content_agent", payload: { content: "c1" } }]);
  });

  test("a refusal is told once and for good", async () => {
    browser.answers = [answer(404, { error: { code: "not_found" } })];
    open(URL, {}).connect();
    FakeEventSource.last.refuse();
    await settle();
    await browser.clock.advance(600_000);
    assert.deepEqual(troubles().map(({ error_type, will_retry }) => [error_type, will_retry]), [["not_found", false]]);
    assert.equal(FakeEventSource.all.length, 1);
  });

  test("a log that begins anew is told from its beginning", () => {
    open(URL, {}).connect();
    FakeEventSource.last.control("reset", { reason: "other_epoch", oldest_seq: 1, head_seq: 2, epoch: "e2" });
    FakeEventSource.last.onmessage({ data: JSON.stringify(event(1)) });
    assert.deepEqual(chunks(), ["c1"]);
  });

  test("a url that is no run's is asked alone", async () => {
    browser.answers = [answer(404, { error: { code: "not_found" } })];
    open("/elsewhere", {}).connect();
    FakeEventSource.last.refuse();
    await settle();
    assert.deepEqual([client.runId, browser.polled[0].pathname], [null, "/elsewhere"]);
  });
});
