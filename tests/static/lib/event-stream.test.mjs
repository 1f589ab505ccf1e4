/** The promises of js/lib/event-stream.js: order, once, cursor after the handler, one owner of reconnects, nothing left behind. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { isAfter, selectionKey, seqDigits } from "../../../server/static/js/lib/cursor.js";
import { retryAfterMs } from "../../../server/static/js/lib/poll.js";
import { backoffCeiling, EventStream } from "../../../server/static/js/lib/event-stream.js";
import { answer, event, FakeEventSource, fakeBrowser, page, settle } from "../support/support.mjs";

const KEY = selectionKey(["demand:*"]);
let browser;
let stream;
let handled;
let resets;
let states;
let errors;

/** A started stream; what it hands out is in `handled`, `resets`, `states`, `errors`. */
function open(options = {}) {
  stream = new EventStream({
    streams: ["demand:*"],
    onEvent: ({ seq }) => {
      handled.push(seq);
    },
    onReset: (details) => {
      resets.push(details);
    },
    onState: (state) => states.push(state),
    onHandlerError: (error) => errors.push(error),
    start: { epoch: "e1", id: "10" },
    environment: browser.environment,
    ...options,
  });
  stream.start();
  return FakeEventSource.last;
}

/** Fail `count` connections in a row, waiting out every delay. */
async function failConnections(count) {
  for (let i = 0; i < count; i += 1) {
    FakeEventSource.last.drop();
    await settle();
    if (i < count - 1) await browser.clock.advance(30_000);
  }
}

const stored = () => JSON.parse(browser.storage.getItem(KEY));

beforeEach(() => {
  browser = fakeBrowser();
  handled = [];
  resets = [];
  states = [];
  errors = [];
});

afterEach(async () => {
  stream?.close();
  await settle();
  assert.equal(browser.clock.pending, 0, "a timer is left after close");
  assert.equal(browser.listeners, 0, "a listener is left after close");
  assert.equal(FakeEventSource.open.length, 0, "a connection is left after close");
});

describe("where it starts", () => {
  test("an explicit start wins over the stored cursor, and keepalives are asked for as events", () => {
    browser.storage.setItem(KEY, JSON.stringify({ epoch: "e1", seq: 3 }));
    const source = open();
    assert.equal(source.url.pathname, "/api/events/stream");
    assert.deepEqual(source.query, { stream: "demand:*", since_seq: "10", epoch: "e1", keepalive: "event" });
  });

  test("without a start it goes on from the stored cursor", () => {
    browser.storage.setItem(KEY, JSON.stringify({ epoch: "e7", seq: 3 }));
    const { query } = open({ start: undefined });
    assert.equal(query.since_seq, "3");
    assert.equal(query.epoch, "e7");
  });

  test("a new selection begins live, and keeps the head of the first ready as its cursor", async () => {
    const source = open({ start: undefined });
    assert.equal(source.query.start, "live");
    assert.equal(source.query.since_seq, undefined);
    source.ready(41);
    assert.deepEqual(stored(), { epoch: "e1", id: "41" });
    source.drop();
    await browser.clock.advance(1000);
    assert.equal(FakeEventSource.last.query.since_seq, "41");
  });

  test("a selection can begin at the beginning and wait for a stream that does not exist", () => {
    const { query } = open({ start: undefined, whenNew: "beginning", allowPending: true });
    assert.equal(query.start, "beginning");
    assert.equal(query.allow_pending, "1");
  });

  test("several streams and types share one connection", () => {
    const source = open({ streams: ["session:*", "demand:d-1"], types: ["towow.*"] });
    assert.deepEqual(source.url.searchParams.getAll("stream"), ["session:*", "demand:d-1"]);
    assert.deepEqual(source.url.searchParams.getAll("type"), ["towow.*"]);
  });

  test("a path of its own names what it streams, so no stream is asked for there; the polls of all streams do", async () => {
    const source = open({ streams: ["session:lin"], types: ["new_message"], path: "/api/sessions/lin/events" });
    assert.deepEqual(source.query, { since_seq: "10", epoch: "e1", keepalive: "event" });
    await failConnections(4);
    const { searchParams } = browser.polled.at(-1);
    assert.deepEqual([searchParams.get("stream"), searchParams.get("type")], ["session:lin", "new_message"]);
  });

  for (const [name, value] of [
    ["not JSON", "{"],
    ["another shape", '"7"'],
    ["a negative seq", '{"epoch":"e1","seq":-1}'],
    ["a fraction", '{"epoch":"e1","seq":1.5}'],
    ["no epoch", '{"seq":4}'],
  ]) {
    test(`a stored cursor that is ${name} counts as none`, () => {
      browser.storage.setItem(KEY, value);
      assert.equal(open({ start: undefined }).query.since_seq, undefined);
    });
  }

  test("a storage that throws does no harm", () => {
    const broken = () => {
      throw new Error("blocked");
    };
    browser.environment.localStorage = { getItem: broken, setItem: broken, removeItem: broken };
    const source = open();
    source.event(11);
    assert.deepEqual(handled, [11]);
  });
});

describe("events and the cursor", () => {
  test("the cursor is stored after the handler returned, not before", () => {
    const seen = [];
    const source = open({ onEvent: () => void seen.push(Number(stored().id)) });
    source.event(11);
    source.event(12);
    assert.deepEqual(seen, [10, 11]);
    assert.deepEqual(stored(), { epoch: "e1", id: "12" });
  });

  test("with an asynchronous handler it waits for the promise, and keeps the order", async () => {
    const finish = [];
    const source = open({
      onEvent: ({ seq }) => new Promise((resolve) => finish.push(() => resolve(void handled.push(seq)))),
    });
    source.event(11);
    source.event(12);
    await settle();
    assert.equal(finish.length, 1, "the second event waits for the first");
    assert.equal(Number(stored().id), 10);
    finish[0]();
    await settle();
    assert.equal(Number(stored().id), 11);
    finish[1]();
    await settle();
    assert.deepEqual(handled, [11, 12]);
  });

  test("duplicates and old events are dropped", () => {
    const source = open();
    for (const seq of [9, 10, 11, 11, 12, 11, 12]) source.event(seq);
    assert.deepEqual(handled, [11, 12]);
  });

  for (const [name, fail] of [
    ["throws", () => assert.fail("boom")],
    ["rejects", () => Promise.reject(new Error("boom"))],
  ]) {
    test(`when the handler ${name}, the cursor stays and the event comes again`, async () => {
      let isBroken = true;
      const source = open({
        onEvent: (event) => (event.seq === 12 && isBroken ? fail() : void handled.push(event.seq)),
      });
      source.event(11);
      source.event(12);
      source.event(13);
      await settle();
      assert.deepEqual(handled, [11], "what came after the failure did not overtake it");
      assert.equal(Number(stored().id), 11);
      assert.equal(errors.length, 1);
      assert.equal(stream.state.reason, "handler");
      assert.ok(source.isClosed);
      isBroken = false;
      await browser.clock.advance(1000);
      assert.equal(FakeEventSource.last.query.since_seq, "11");
      FakeEventSource.last.event(12);
      FakeEventSource.last.event(13);
      await settle();
      assert.deepEqual(handled, [11, 12, 13]);
    });
  }

  test("a handler that never succeeds meets growing delays", async () => {
    open({ onEvent: () => assert.fail("boom") });
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      FakeEventSource.last.event(11);
      await settle();
      assert.equal(stream.state.attempt, attempt);
      await browser.clock.advance(20_000);
    }
  });

  test("frames of a connection that was replaced are ignored", async () => {
    const old = open();
    old.event(11);
    stream.reconnectNow();
    old.event(12);
    old.control("end", { reason: "towow.negotiation.failed" });
    assert.deepEqual(handled, [11]);
    assert.notEqual(stream.state.name, "closed");
  });

  test("a frame that is no JSON counts as a failure and moves nothing", async () => {
    const source = open();
    source.onmessage({ data: "{", lastEventId: "" });
    await settle();
    assert.equal(stream.state.name, "reconnecting");
    assert.equal(stream.cursor.id, "10");
  });
});

describe("cursors", () => {
  test("are sent back as they came: a check and a seq that no number holds are not lost", async () => {
    const source = open({ start: { epoch: "e1", id: "9007199254740992.123456" } });
    assert.equal(source.query.since_seq, "9007199254740992.123456");
    source.onmessage({ data: '{"seq":9007199254740993,"revision":1}', lastEventId: "9007199254740993.654321" });
    source.onmessage({ data: '{"seq":9007199254740993,"revision":1}', lastEventId: "9007199254740993.654321" });
    source.onmessage({ data: '{"seq":9007199254740994,"revision":2}', lastEventId: "9007199254740994.111119" });
    assert.equal(handled.length, 2);
    assert.match(String(errors), /^RangeError: the seq of the event at 9007199254740993\.654321 is larger than a number holds$/);
    assert.deepEqual(stored(), { epoch: "e1", id: "9007199254740994.111119" });
    source.drop();
    await browser.clock.advance(1000);
    assert.equal(FakeEventSource.last.query.since_seq, "9007199254740994.111119");
  });

  test("are in their order by the seq, whatever their checks are", () => {
    const ordered = ["", "0", "7.999999", "08.111111", "10.111111", "9007199254740993.1", "9223372036854775807.111111"];
    for (const [place, id] of ordered.entries()) {
      for (const [other, otherId] of ordered.entries()) assert.equal(isAfter(id, otherId), place > other, `${id} ${otherId}`);
    }
    assert.equal(isAfter("7.111111", "7.222222"), false);
    assert.deepEqual(["0", "007.111111", "12"].map(seqDigits), ["0", "7", "12"]);
  });

  test("the cursor of ready is where a stream that was cut before its first event goes on, and so is that of a page", async () => {
    const source = open({ start: undefined });
    source.control("ready", { head_seq: 41, cursor: "41.123456", epoch: "e1", replayed: 0, keepalive_seconds: 5 });
    browser.answers = [answer(200, page([event(42)], { next_cursor: "42.222222" }))];
    await failConnections(4);
    assert.deepEqual(stored(), { epoch: "e1", id: "42.222222" });
    assert.equal(browser.polled[0].searchParams.get("since_seq"), "41.123456");
  });
});

describe("reconnecting", () => {
  test("it says connected at ready, and reconnecting with the time of the next try after a drop", async () => {
    const source = open();
    assert.equal(stream.state.name, "connecting");
    source.ready(10);
    assert.deepEqual(stream.state, { name: "connected", attempt: 0, nextTryAt: null, reason: null });
    source.drop();
    assert.deepEqual(stream.state, {
      name: "reconnecting",
      attempt: 1,
      nextTryAt: browser.clock.now + 500,
      reason: "network",
    });
  });

  test("there is one owner: the broken source is closed, and one timer is left", () => {
    const source = open();
    source.drop();
    source.drop();
    assert.ok(source.isClosed);
    assert.equal(browser.clock.pending, 1);
    assert.equal(stream.state.attempt, 1);
  });

  test("delays double up to the cap with full jitter, and start over after success", async () => {
    const delays = [];
    open({ failuresBeforePolling: 99 });
    for (let i = 0; i < 8; i += 1) {
      FakeEventSource.last.drop();
      delays.push(stream.state.nextTryAt - browser.clock.now);
      await browser.clock.advance(delays.at(-1));
    }
    assert.deepEqual(delays, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    FakeEventSource.last.ready(10);
    FakeEventSource.last.drop();
    assert.equal(stream.state.nextTryAt - browser.clock.now, 500);
  });

  test("the ceiling of a delay is exponential and capped", () => {
    assert.deepEqual([1, 2, 3, 6, 7, 5000].map((n) => backoffCeiling(n, 1000, 30_000)), [1000, 2000, 4000, 30_000, 30_000, 30_000]);
  });

  test("it goes on from the last handled event", async () => {
    const source = open();
    source.ready(10);
    source.event(11);
    source.event(12);
    source.drop();
    await browser.clock.advance(1000);
    assert.equal(FakeEventSource.last.query.since_seq, "12");
    FakeEventSource.last.event(13);
    assert.deepEqual(handled, [11, 12, 13]);
  });

  test("reconnect now does not wait for the planned try, and leaves one connection", async () => {
    open().drop();
    stream.reconnectNow();
    assert.equal(stream.state.nextTryAt, null);
    assert.equal(FakeEventSource.open.length, 1);
    FakeEventSource.last.ready(10);
    await browser.clock.advance(10_000);
    assert.equal(FakeEventSource.all.length, 2);
  });

  test("rotate connects at once from the given place, without counting as a failure", () => {
    const source = open();
    source.ready(10);
    source.event(11);
    source.control("rotate", { next_cursor: "40" });
    assert.equal(FakeEventSource.all.length, 2);
    assert.equal(FakeEventSource.last.query.since_seq, "40");
    assert.equal(stream.state.attempt, 0);
    assert.equal(Number(stored().id), 40);
  });

  test("rotate without progress counts as a failure, so that it cannot spin", () => {
    open().control("rotate", { next_cursor: "10" });
    assert.equal(FakeEventSource.all.length, 1);
    assert.equal(stream.state.attempt, 1);
  });

  test("rotate waits for the events before it to be handled", async () => {
    let finish;
    const source = open({ onEvent: () => new Promise((resolve) => (finish = resolve)) });
    source.event(11);
    source.control("rotate", { next_cursor: "11" });
    await settle();
    assert.equal(FakeEventSource.all.length, 1);
    finish();
    await settle();
    assert.equal(FakeEventSource.last.query.since_seq, "11");
    assert.equal(FakeEventSource.all.length, 2);
  });
});

describe("silence", () => {
  test("2.5 keepalives of silence end a connection; a keepalive is enough to keep it", async () => {
    const source = open();
    source.ready(10, "e1", 4);
    await browser.clock.advance(9000);
    source.control("keepalive", {});
    await browser.clock.advance(9999);
    assert.equal(stream.state.name, "connected");
    await browser.clock.advance(1);
    assert.equal(stream.state.name, "reconnecting");
    assert.equal(stream.state.reason, "silence");
    assert.ok(source.isClosed);
  });

  test("a connection that never answers is given up after the default limit", async () => {
    open();
    await browser.clock.advance(37_499);
    assert.equal(stream.state.name, "connecting");
    await browser.clock.advance(1);
    assert.equal(stream.state.reason, "silence");
  });

  test("a tab that slept longer than the limit reconnects when it is looked at", async () => {
    const source = open();
    source.ready(10, "e1", 4);
    browser.clock.now += 60_000;
    await browser.dispatch("visibilitychange");
    assert.ok(source.isClosed);
    assert.equal(FakeEventSource.all.length, 2);
  });

  test("a tab that is looked at in time keeps its connection", async () => {
    open().ready(10, "e1", 4);
    browser.clock.now += 5000;
    await browser.dispatch("pageshow");
    assert.equal(FakeEventSource.all.length, 1);
  });

  test("an overdue try is made when the tab wakes", async () => {
    open().drop();
    browser.clock.now += 60_000;
    await browser.dispatch("pageshow");
    assert.equal(FakeEventSource.all.length, 2);
  });

  test("a tab that goes out of sight does nothing", async () => {
    open().ready(10, "e1", 4);
    browser.clock.now += 60_000;
    browser.isVisible = false;
    await browser.dispatch("visibilitychange");
    assert.equal(FakeEventSource.all.length, 1);
  });
});

describe("offline and online", () => {
  test("offline closes and plans nothing; online tries at once with a fresh count", async () => {
    const source = open();
    source.ready(10);
    browser.isOnline = false;
    await browser.dispatch("offline");
    assert.equal(stream.state.name, "offline");
    assert.ok(source.isClosed);
    assert.equal(browser.clock.pending, 0);
    await browser.clock.advance(600_000);
    assert.equal(FakeEventSource.all.length, 1);
    browser.isOnline = true;
    await browser.dispatch("online");
    assert.equal(FakeEventSource.all.length, 2);
    assert.equal(stream.state.attempt, 0);
  });

  test("a failure while offline plans nothing", () => {
    const source = open();
    browser.isOnline = false;
    source.drop();
    assert.equal(stream.state.name, "offline");
    assert.equal(browser.clock.pending, 0);
  });

  test("the first try is made even offline, because the server may be on this machine", () => {
    browser.isOnline = false;
    const source = open();
    source.ready(10);
    assert.equal(stream.state.name, "connected");
  });

  test("going offline stops polling too", async () => {
    browser.answers = [answer(200, page([]))];
    open();
    await failConnections(4);
    assert.equal(stream.state.name, "polling");
    await browser.dispatch("offline");
    assert.equal(browser.clock.pending, 0);
  });

  test("online while connected changes nothing", async () => {
    open().ready(10);
    await browser.dispatch("online");
    assert.equal(FakeEventSource.all.length, 1);
  });
});

describe("polling", () => {
  test("after four failures it polls, and hands out each event once", async () => {
    open();
    await failConnections(3);
    assert.equal(browser.polled.length, 0);
    await browser.clock.advance(30_000);
    browser.answers = [answer(200, page([event(11), event(12)])), answer(200, page([event(12), event(13)]))];
    FakeEventSource.last.drop();
    await settle();
    assert.equal(stream.state.name, "polling");
    assert.deepEqual(Object.fromEntries(browser.polled[0].searchParams), {
      stream: "demand:*",
      since_seq: "10",
      epoch: "e1",
      limit: "500",
    });
    assert.deepEqual(handled, [11, 12]);
    assert.equal(Number(stored().id), 12);
    await browser.clock.advance(3000);
    assert.deepEqual(handled, [11, 12, 13]);
    assert.equal(browser.polled[1].searchParams.get("since_seq"), "12");
  });

  test("a page that has more is followed by the next at once", async () => {
    open();
    await failConnections(3);
    await browser.clock.advance(30_000);
    browser.answers = [answer(200, page([event(11)], { has_more: true })), answer(200, page([event(12)]))];
    FakeEventSource.last.drop();
    await settle();
    await browser.clock.advance(1);
    assert.deepEqual(handled, [11, 12]);
  });

  test("meanwhile the stream is tried now and then, and ends the polling when it works", async () => {
    browser.answers = Array.from({ length: 50 }, () => answer(200, page([], { next_since_seq: 10 })));
    open();
    await failConnections(4);
    const before = FakeEventSource.all.length;
    await browser.clock.advance(31_000);
    assert.equal(FakeEventSource.all.length, before + 1);
    assert.equal(stream.state.name, "polling");
    FakeEventSource.last.ready(10);
    assert.equal(stream.state.name, "connected");
    const polls = browser.polled.length;
    await browser.clock.advance(10_000);
    assert.equal(browser.polled.length, polls);
  });

  test("an event that both ways bring is handled once", async () => {
    browser.answers = [answer(200, page([], { next_since_seq: 10 })), answer(200, page([event(11)]))];
    open();
    await failConnections(4);
    stream.reconnectNow();
    FakeEventSource.last.event(11);
    await browser.clock.advance(3000);
    assert.equal(browser.polled.length, 2);
    assert.deepEqual(handled, [11]);
  });

  test("while the server is away it says reconnecting, and the first answer brings the stream back", async () => {
    open();
    await failConnections(4);
    assert.equal(stream.state.name, "reconnecting");
    assert.ok(stream.state.nextTryAt > browser.clock.now);
    browser.answers = [answer(200, page([event(11)]))];
    const before = FakeEventSource.all.length;
    await browser.clock.advance(600);
    assert.deepEqual(handled, [11]);
    assert.equal(FakeEventSource.all.length, before + 1, "it connects without waiting for its turn");
  });

  test("a handler that fails on a polled event gets it again", async () => {
    let isBroken = true;
    open({ onEvent: ({ seq }) => (isBroken ? assert.fail("boom") : void handled.push(seq)) });
    await failConnections(3);
    await browser.clock.advance(30_000);
    browser.answers = [answer(200, page([event(11)]))];
    FakeEventSource.last.drop();
    await settle();
    assert.equal(Number(stored().id), 10);
    assert.equal(errors.length, 1);
    isBroken = false;
    await browser.clock.advance(30_000);
    FakeEventSource.last.event(11);
    assert.deepEqual(handled, [11]);
  });

  test("events that polls bring do not hide that the stream keeps failing", async () => {
    open();
    await failConnections(3);
    await browser.clock.advance(30_000);
    browser.answers = [answer(200, page([event(11)]))];
    FakeEventSource.last.drop();
    await settle();
    assert.deepEqual(handled, [11]);
    stream.reconnectNow();
    FakeEventSource.last.drop();
    assert.equal(stream.state.attempt, 5);
  });

  test("a poll waits for a stream that does not exist yet as the stream does", async () => {
    open({ allowPending: true });
    await failConnections(4);
    assert.equal(browser.polled.at(-1).searchParams.get("allow_pending"), "1");
  });

  test("without a cursor a poll takes only the head, so that old events are not taken for news", async () => {
    browser.answers = [answer(200, page([event(7), event(8)], { head_seq: 9 })), answer(200, page([event(10)]))];
    open({ start: undefined });
    await failConnections(4);
    assert.deepEqual(handled, []);
    assert.deepEqual(stored(), { epoch: "e1", id: "9" });
    await browser.clock.advance(3000);
    assert.deepEqual(handled, [10]);
  });
});

describe("resets", () => {
  const details = { reason: "past_head", requested: 10, oldest_seq: 5, head_seq: 7, epoch: "e2" };

  test("reset is told, and without an answer everything that is kept is handed out", () => {
    const source = open();
    source.control("reset", details);
    assert.deepEqual(resets, [details]);
    source.event(5);
    source.event(6);
    source.ready(7, "e2");
    assert.deepEqual(handled, [5, 6]);
    assert.deepEqual(stored(), { epoch: "e2", id: "7" });
    assert.equal(FakeEventSource.all.length, 1);
  });

  test("a page that read its snapshot again goes on from there", async () => {
    const source = open({ onReset: async () => ({ epoch: "e2", id: "7" }) });
    source.control("reset", details);
    source.event(5);
    await settle();
    assert.equal(FakeEventSource.all.length, 2);
    assert.deepEqual(FakeEventSource.last.query, { stream: "demand:*", since_seq: "7", epoch: "e2", keepalive: "event" });
    assert.deepEqual(handled, []);
  });

  test("a reset handler that fails is asked again, and the cursor stays", async () => {
    let count = 0;
    const source = open({
      onReset: async () => {
        count += 1;
        if (count === 1) throw new Error("snapshot");
        return { epoch: "e2", id: "7" };
      },
    });
    source.control("reset", details);
    await settle();
    assert.deepEqual(stored(), { epoch: "e1", id: "10" });
    await browser.clock.advance(1000);
    assert.equal(FakeEventSource.last.query.since_seq, "10");
    FakeEventSource.last.control("reset", details);
    await settle();
    assert.deepEqual(stored(), { epoch: "e2", id: "7" });
  });

  test("another epoch at ready is a reset, and the connection begins again", () => {
    const source = open();
    source.ready(3, "e2");
    assert.equal(resets[0].reason, "other_epoch");
    assert.equal(FakeEventSource.all.length, 2);
    assert.equal(FakeEventSource.last.query.since_seq, "0");
    assert.equal(FakeEventSource.last.query.epoch, "e2");
  });

  test("410 to the question why the browser gave up is a reset", async () => {
    browser.answers = [answer(410, { error: { code: "gone", ...details } })];
    open().refuse();
    await settle();
    assert.equal(resets[0].reason, "past_head");
    assert.equal(FakeEventSource.last.query.since_seq, "4");
    assert.equal(FakeEventSource.last.query.epoch, "e2");
  });

  test("410 to a poll is a reset, and ends the polling", async () => {
    browser.answers = [answer(410, { error: details })];
    open();
    await failConnections(4);
    assert.equal(resets.length, 1);
    const polls = browser.polled.length;
    FakeEventSource.last.ready(7, "e2");
    await browser.clock.advance(10_000);
    assert.equal(browser.polled.length, polls);
  });
});

describe("the end", () => {
  test("end with a terminal type closes the stream", () => {
    const source = open();
    source.ready(10);
    source.event(11);
    source.control("end", { reason: "towow.proposal.finalized", last_seq: 11 });
    assert.deepEqual(stream.state, { name: "closed", attempt: 0, nextTryAt: null, reason: "ended" });
    assert.ok(source.isClosed);
    assert.equal(browser.clock.pending, 0);
  });

  test("end for a shutdown comes back after the hint with jitter", async () => {
    open().control("end", { reason: "shutdown", last_seq: 10, retry_milliseconds: 2000 });
    assert.equal(stream.state.reason, "shutdown");
    assert.equal(stream.state.nextTryAt - browser.clock.now, 3000);
    await browser.clock.advance(3000);
    assert.equal(FakeEventSource.all.length, 2);
  });

  test("end for a shutdown without a hint waits one base delay and jitter", () => {
    open().control("end", { reason: "shutdown" });
    assert.equal(stream.state.nextTryAt - browser.clock.now, 1500);
  });

  test("end for capacity backs off like a failure", async () => {
    open().control("end", { reason: "capacity" });
    assert.equal(stream.state.reason, "capacity");
    await browser.clock.advance(500);
    FakeEventSource.last.control("end", { reason: "capacity" });
    assert.equal(stream.state.attempt, 2);
    assert.equal(stream.state.nextTryAt - browser.clock.now, 1000);
  });

  test("204, which makes the browser give up, is found out to be the end", async () => {
    browser.answers = [answer(200, page([], { ended: true }))];
    open().refuse();
    await settle();
    assert.equal(stream.state.name, "closed");
    assert.equal(stream.state.reason, "ended");
    assert.equal(browser.polled[0].searchParams.get("since_seq"), "10");
  });

  test("204 to a poll is the end too", async () => {
    browser.answers = [answer(204)];
    open();
    await failConnections(4);
    assert.equal(stream.state.reason, "ended");
  });

  test("an end with events before it is not taken for the end while they are missing", async () => {
    browser.answers = [answer(200, page([event(11)], { ended: true }))];
    open().refuse();
    await settle();
    assert.equal(stream.state.name, "reconnecting");
  });

  for (const [status, code] of [
    [400, "invalid_request"],
    [401, "unauthorized"],
    [403, "forbidden"],
    [404, "not_found"],
  ]) {
    test(`${status} stops for good and says why`, async () => {
      browser.answers = [answer(status, { error: { code, message: "no" } })];
      open().refuse();
      await settle();
      assert.equal(stream.state.name, "closed");
      assert.equal(stream.state.reason, code);
      await browser.clock.advance(600_000);
      assert.equal(FakeEventSource.all.length, 1);
    });
  }

  for (const status of [408, 500, 502, 503, 507]) {
    test(`${status} is tried again`, async () => {
      browser.answers = [answer(status, { error: { code: "x" } })];
      open().refuse();
      await settle();
      assert.equal(stream.state.name, "reconnecting");
      await browser.clock.advance(500);
      assert.equal(FakeEventSource.all.length, 2);
    });
  }

  test("a server that cannot be reached is tried again after one question", async () => {
    open().refuse();
    await settle();
    assert.equal(browser.polled.length, 1);
    assert.equal(stream.state.attempt, 1);
  });

  test("429 waits as long as Retry-After asks, and some jitter", async () => {
    browser.answers = [answer(429, { error: { code: "too_many_requests" } }, { "Retry-After": "7" })];
    open().refuse();
    await settle();
    assert.equal(stream.state.reason, "throttled");
    assert.equal(stream.state.nextTryAt - browser.clock.now, 7500);
  });

  test("Retry-After is read as seconds or as a date", () => {
    const now = Date.parse("2026-01-01T00:00:00Z");
    assert.equal(retryAfterMs("3", now), 3000);
    assert.equal(retryAfterMs("Thu, 01 Jan 2026 00:00:09 GMT", now), 9000);
    assert.equal(retryAfterMs(null, now), 1000);
    assert.equal(retryAfterMs("soon", now), 1000);
  });

  test("a stream that was refused can be asked to try again", async () => {
    browser.answers = [answer(403, { error: { code: "forbidden" } })];
    open().refuse();
    await settle();
    stream.reconnectNow();
    FakeEventSource.last.ready(10);
    assert.equal(stream.state.name, "connected");
  });
});

describe("close", () => {
  for (const [name, prepare] of [
    ["while connecting", () => {}],
    ["while connected", () => FakeEventSource.last.ready(10)],
    ["while waiting", () => FakeEventSource.last.drop()],
    [
      "while asking why",
      () => {
        browser.answers = ["hang"];
        FakeEventSource.last.refuse();
      },
    ],
    [
      "while polling",
      async () => {
        browser.answers = ["hang"];
        await failConnections(4);
      },
    ],
  ]) {
    test(`${name} leaves no timer, no listener and no connection`, async () => {
      open();
      await prepare();
      stream.close();
      assert.equal(browser.clock.pending, 0);
      assert.equal(browser.listeners, 0);
      assert.equal(FakeEventSource.open.length, 0);
      assert.deepEqual(stream.state, { ...stream.state, name: "closed", reason: "closed", nextTryAt: null });
    });
  }

  test("while a reset is being handled, nothing comes back to life", async () => {
    let finish;
    open({ onReset: () => new Promise((resolve) => (finish = resolve)) }).control("reset", { reason: "trimmed", oldest_seq: 5, head_seq: 7, epoch: "e2" });
    await settle();
    stream.close();
    finish({ epoch: "e2", id: "7" });
    await settle();
    assert.equal(FakeEventSource.all.length, 1);
    assert.deepEqual(stored(), { epoch: "e1", id: "10" });
  });

  test("nothing starts it again", async () => {
    const source = open();
    stream.close();
    stream.reconnectNow();
    stream.start();
    await browser.dispatch("online");
    source.event(11);
    assert.deepEqual(handled, []);
    assert.equal(FakeEventSource.all.length, 1);
  });
});

describe("frames of other surfaces", () => {
  test("a heartbeat without a seq is life and no event", async () => {
    const source = open();
    source.ready(10);
    source.onmessage({ data: '{"type":"heartbeat","timestamp":1.5}' });
    source.onmessage({ data: "null" });
    source.event(11);
    assert.deepEqual(handled, [11]);
    assert.deepEqual(stored(), { epoch: "e1", id: "11" });
    assert.deepEqual(errors, []);
  });

  test("an expired login closes the stream, and it goes on where it was after the next one", async () => {
    const source = open();
    source.ready(10);
    source.event(11);
    source.control("end", { reason: "token_expired", last_seq: 11 });
    assert.deepEqual([stream.state.name, stream.state.reason], ["closed", "token_expired"]);
    assert.equal(browser.clock.pending, 0);
    stream.reconnectNow();
    assert.equal(FakeEventSource.last.query.since_seq, "11");
  });
});

describe("what other people's clients ask for", () => {
  test("another server and more of a query are in the urls of the stream, and the server in those of the polls", async () => {
    browser.answers = [answer(403, { error: { code: "forbidden" } })];
    const source = open({ streams: [], baseUrl: "http://other.example", path: "/sse/tasks/t-1/events", pollPath: "/api/tasks/t-1/events", parameters: { batch_size: "5" } });
    assert.equal(source.url.href, "http://other.example/sse/tasks/t-1/events?since_seq=10&epoch=e1&keepalive=event&batch_size=5");
    source.refuse();
    await settle();
    assert.equal(browser.polled[0].href, "http://other.example/api/tasks/t-1/events?since_seq=10&epoch=e1&limit=1");
  });

  test("a path of its own says which stream it is, so only the polls of all events name it", async () => {
    browser.answers = [answer(403, { error: { code: "forbidden" } })];
    const source = open({ streams: ["run:r-1"], types: ["agent_*"], path: "/api/runs/r-1/events" });
    assert.equal(source.url.href.split("?")[1], "since_seq=10&epoch=e1&keepalive=event");
    source.refuse();
    await settle();
    assert.deepEqual(browser.polled[0].searchParams.getAll("stream"), ["run:r-1"]);
    assert.deepEqual(browser.polled[0].searchParams.getAll("type"), ["agent_*"]);
  });

  test("delays grow by another factor", async () => {
    assert.deepEqual([1, 2, 3, 4].map((n) => backoffCeiling(n, 1000, 20_000, 3)), [1000, 3000, 9000, 20_000]);
    open({ factor: 3 });
    FakeEventSource.last.drop();
    await browser.clock.advance(500);
    FakeEventSource.last.drop();
    assert.equal(stream.state.nextTryAt - browser.clock.now, 1500);
  });

  test("after the last attempt that is allowed it closes, and a success starts the count over", async () => {
    open({ maxAttempts: 2 }).drop();
    await browser.clock.advance(500);
    FakeEventSource.last.ready(10);
    for (let i = 0; i < 2; i += 1) {
      FakeEventSource.last.drop();
      assert.equal(stream.state.name, "reconnecting");
      await browser.clock.advance(1000);
    }
    FakeEventSource.last.drop();
    assert.deepEqual([stream.state.name, stream.state.reason, browser.clock.pending], ["closed", "attempts", 0]);
  });

  test("it does not give up while polls bring the events", async () => {
    browser.answers = Array.from({ length: 50 }, () => answer(200, page([], { next_since_seq: 10 })));
    open({ maxAttempts: 4 });
    await failConnections(8);
    assert.equal(stream.state.name, "polling");
  });

  test("with no attempt allowed, neither a failure nor the network brings it back", async () => {
    open({ maxAttempts: 0 }).ready(10);
    browser.isOnline = false;
    await browser.dispatch("offline");
    assert.deepEqual([stream.state.name, stream.state.reason], ["closed", "attempts"]);
    browser.isOnline = true;
    await browser.dispatch("online");
    assert.equal(FakeEventSource.all.length, 1);
  });

  test("at the end the cursor is where the server says that the stream ends", () => {
    const source = open();
    source.event(11);
    source.control("end", { reason: "task_complete", last_seq: 13 });
    assert.equal(stream.cursor.id, "13");
  });

  test("what came again is told, and any value that a handler returns is fine", () => {
    const again = [];
    const source = open({ onEvent: ({ seq }) => handled.push(seq), onDuplicate: ({ seq }) => again.push(seq) });
    for (const seq of [11, 11, 12]) source.event(seq);
    assert.deepEqual([handled, again, errors], [[11, 12], [11], []]);
  });
});
