/**
 * The promises of js/services/EventStreamService.js in one tab: source 002's options, states, counters and methods; gaps, order,
 * once, and nothing left behind. What several tabs do together is in tabs.test.mjs.
 */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

import { EventStreamService, PROFILES } from "../../../server/static/js/services/EventStreamService.js";
import { Intake } from "../../../server/static/js/services/intake.js";
import { answer, FakeEventSource, fakeBrowser, FakeStorage, page, settle } from "../support/support.mjs";

let browser;
let service;
let handled;
let states;
let errors;
let resets;
let ends;

/** A started service on the fake browser; what it calls back is in `handled` (revisions), `states`, `errors`, `resets`. */
function open(options = {}) {
  service = new EventStreamService("t-1", {
    onEvent: ({ revision }) => handled.push(revision),
    onStateChange: (state) => states.push(state),
    onError: ({ code }) => errors.push(code),
    onReset: (details) => resets.push(details),
    onEnd: () => (ends += 1),
    environment: browser.environment,
    ...options,
  });
  service.start();
  return FakeEventSource.last;
}

/** The task's events have every tenth seq, because others write into the same log. */
const event = (revision, extra = {}) => ({
  seq: revision * 10,
  revision,
  event_id: `id-${revision}`,
  event_type: "progress_update",
  task_id: "t-1",
  phase: null,
  span_id: null,
  payload: {},
  timestamp: "2026-01-01T00:00:00.000Z",
  source: "test",
  ...extra,
});
const send = (...revisions) => revisions.forEach((revision) => FakeEventSource.last.onmessage?.({ data: JSON.stringify(event(revision)), lastEventId: "" }));
const found = (...revisions) => answer(200, page(revisions.map((revision) => event(revision))));
const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);
const asked = (index = -1) => Object.fromEntries(browser.polled.at(index).searchParams);
const stats = (changed) => ({ eventsReceived: 0, reconnects: 0, errors: 0, gapsDetected: 0, gapsRecovered: 0, duplicates: 0, ...changed });

beforeEach(() => {
  browser = fakeBrowser();
  [handled, states, errors, resets, ends] = [[], [], [], [], 0];
});

afterEach(async () => {
  service?.stop();
  await settle();
  assert.equal(browser.clock.pending, 0, "a timer is left after stop");
  assert.equal(browser.listeners, 0, "a listener is left after stop");
  assert.equal(FakeEventSource.open.length, 0, "a connection is left after stop");
});

describe("options", () => {
  test("have source 002's defaults, and sharing on", () => {
    service = new EventStreamService("t-1", { environment: browser.environment });
    const { onEvent, onStateChange, onError, onReset, onEnd, filter, environment, ...rest } = service.options;
    assert.deepEqual(rest, {
      since_seq: 0,
      batch_size: 10,
      flush_interval: 0.5,
      reconnectDelay: 1000,
      maxReconnectDelay: 30_000,
      reconnectBackoff: 2,
      maxReconnectAttempts: Infinity,
      autoReconnect: true,
      gapDetection: true,
      baseUrl: "",
      shared: true,
      storage: false,
      allowPending: false,
      debug: false,
    });
    for (const callback of [onEvent, onStateChange, onError, onReset, onEnd, filter]) assert.equal(typeof callback, "function");
    assert.ok(environment);
    assert.deepEqual([service.state, service.reconnectAttempts, service.currentReconnectDelay], ["disconnected", 0, 1000]);
    assert.deepEqual(service.getStats(), stats());
  });

  test("have named profiles", () => {
    assert.deepEqual(PROFILES, {
      default: {},
      low_latency: { batch_size: 1, flush_interval: 0.1 },
      high_throughput: { batch_size: 50, flush_interval: 2 },
      low_bandwidth: { reconnectDelay: 5000, maxReconnectDelay: 60_000 },
    });
  });

  test("become the query of the stream, at the server and for the task that are meant", () => {
    const source = open({ since_seq: 7, ...PROFILES.low_latency, baseUrl: "http://example.com/", allowPending: true });
    assert.equal(source.url.origin + source.url.pathname, "http://example.com/sse/tasks/t-1/events");
    assert.deepEqual(source.query, { since_seq: "7", allow_pending: "1", keepalive: "event", batch_size: "1", flush_interval: "0.1" });
  });

  for (const [since_seq, expected] of [
    [undefined, "0"],
    ["57", "57"],
    [Number.parseInt(null, 10), "0"],
    [-1, "0"],
    ["soon", "0"],
  ]) {
    test(`begin at ${expected} for a since_seq of ${since_seq}`, () => {
      assert.equal(open({ since_seq }).query.since_seq, expected);
    });
  }

  test("that are callbacks may be replaced while it runs, and one that fails does no harm", () => {
    const logged = mock.method(console, "error", () => {});
    const source = open();
    const later = [];
    service.options.onStateChange = (state) => {
      later.push(state);
      throw new Error("mine");
    };
    source.ready(0);
    assert.deepEqual([states, later, logged.mock.callCount()], [["connecting"], ["connected"], 1]);
    mock.restoreAll();
  });

  test("with debug, it says what it does under its name", () => {
    const said = mock.method(console, "info", () => {});
    open({ debug: true });
    assert.deepEqual(said.mock.calls[0].arguments, ["[EventStreamService]", "enabled", "t-1"]);
    mock.restoreAll();
  });
});

describe("states", () => {
  test("go from connecting to connected, over reconnecting back, and to closed", async () => {
    open().ready(0);
    FakeEventSource.last.drop();
    await browser.clock.advance(500);
    FakeEventSource.last.ready(0);
    service.stop();
    assert.deepEqual(states, ["connecting", "connected", "reconnecting", "connecting", "connected", "closed"]);
    assert.deepEqual(service.getStats(), stats({ reconnects: 1, errors: 1 }));
  });

  test("come with the attempt and the delay for a countdown, and both start over", async () => {
    open({ reconnectBackoff: 3 }).ready(0);
    const waits = [];
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      FakeEventSource.last.drop();
      waits.push([service.state, service.reconnectAttempts, service.currentReconnectDelay]);
      await browser.clock.advance(service.currentReconnectDelay);
      assert.equal(service.state, "connecting");
    }
    assert.deepEqual(waits, [["reconnecting", 1, 500], ["reconnecting", 2, 1500], ["reconnecting", 3, 4500]]);
    FakeEventSource.last.ready(0);
    assert.deepEqual([service.reconnectAttempts, service.currentReconnectDelay], [0, 1000]);
    assert.deepEqual(errors, ["network", "network", "network"]);
  });

  test("offline waits without a timer, and online connects at once", async () => {
    open().ready(0);
    browser.isOnline = false;
    await browser.dispatch("offline");
    assert.deepEqual([service.state, browser.clock.pending], ["offline", 0]);
    browser.isOnline = true;
    await browser.dispatch("online");
    FakeEventSource.last.ready(0);
    assert.deepEqual(states, ["connecting", "connected", "offline", "connecting", "connected"]);
    assert.deepEqual(service.getStats(), stats({ reconnects: 1 }));
  });

  test("rotate connects at once, and is neither an attempt nor an error nor a reconnect", () => {
    const source = open();
    source.ready(0);
    send(1);
    source.control("rotate", { next_cursor: "10" });
    FakeEventSource.last.ready(10);
    send(2);
    assert.deepEqual([FakeEventSource.all.length, FakeEventSource.last.query.since_seq, service.reconnectAttempts], [2, "10", 0]);
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 2 }));
  });

  test("after the attempts that are allowed it is closed", async () => {
    open({ maxReconnectAttempts: 2 }).ready(0);
    for (let i = 0; i < 3; i += 1) {
      FakeEventSource.last.drop();
      await browser.clock.advance(service.currentReconnectDelay);
    }
    assert.deepEqual([service.state, FakeEventSource.all.length, errors], ["closed", 3, ["network", "network", "attempts"]]);
    service.start();
    FakeEventSource.last.ready(0);
    assert.equal(service.state, "connected");
  });

  test("a hundred attempts and a delay of a minute are taken", async () => {
    open({ ...PROFILES.low_bandwidth, maxReconnectAttempts: 100 });
    for (let i = 0; i < 3; i += 1) {
      FakeEventSource.last.drop();
      assert.equal(service.currentReconnectDelay, 2500 * 2 ** i);
      await browser.clock.advance(service.currentReconnectDelay);
    }
    assert.equal(service.state, "connecting");
  });

  for (const [name, lose] of [
    ["the connection breaks", () => FakeEventSource.last.drop()],
    [
      "the network goes",
      () => {
        browser.isOnline = false;
        return browser.dispatch("offline");
      },
    ],
    ["the server restarts", () => FakeEventSource.last.control("end", { reason: "shutdown" })],
  ]) {
    test(`without autoReconnect it is disconnected when ${name}, and start() goes on where it was`, async () => {
      open({ autoReconnect: false }).ready(0);
      send(1);
      await lose();
      assert.deepEqual([service.state, browser.clock.pending, browser.listeners], ["disconnected", 0, 0]);
      browser.isOnline = true;
      await browser.clock.advance(600_000);
      await browser.dispatch("online");
      assert.equal(FakeEventSource.all.length, 1);
      service.start();
      assert.equal(FakeEventSource.last.query.since_seq, "10");
    });
  }

  for (const [status, code] of [
    [400, "invalid_request"],
    [401, "unauthorized"],
    [403, "forbidden"],
    [404, "not_found"],
  ]) {
    test(`${status} closes for good and says why`, async () => {
      browser.answers = [answer(status, { error: { code } })];
      open().refuse();
      await settle();
      await browser.clock.advance(600_000);
      assert.deepEqual([service.state, errors, FakeEventSource.all.length], ["closed", [code], 1]);
    });
  }

  for (const status of [408, 500, 503]) {
    test(`${status} is tried again`, async () => {
      browser.answers = [answer(status, {})];
      open().refuse();
      await settle();
      assert.equal(service.state, "reconnecting");
    });
  }

  test("429 waits as long as Retry-After says, and some more", async () => {
    browser.answers = [answer(429, {}, { "Retry-After": "7" })];
    open().refuse();
    await settle();
    assert.deepEqual([service.state, service.currentReconnectDelay, errors], ["reconnecting", 7500, ["throttled"]]);
  });

  test("polls bring the events while streams do not get through, and the state says that it is not well", async () => {
    open();
    for (let i = 0; i < 4; i += 1) {
      if (i === 3) browser.answers = [found(1, 2)];
      FakeEventSource.last.drop();
      await settle();
      if (i < 3) await browser.clock.advance(30_000);
    }
    assert.deepEqual([handled, service.state], [[1, 2], "reconnecting"]);
    assert.deepEqual([browser.polled.at(-1).pathname, asked().since_seq], ["/api/tasks/t-1/events", "0"]);
  });
});

describe("gaps", () => {
  test("are found on the revision and back-filled before what follows", async () => {
    browser.answers = [found(3, 4)];
    open().ready(0);
    send(1, 2, 5);
    assert.deepEqual(handled, [1, 2], "what came after the hole waits");
    send(6);
    await settle();
    assert.deepEqual(handled, upTo(6));
    assert.equal(browser.polled[0].pathname, "/api/tasks/t-1/events");
    assert.deepEqual(asked(0), { since_seq: "20", limit: "500", until_seq: "49", epoch: "e1" });
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 6, gapsDetected: 1, gapsRecovered: 1 }));
  });

  test("are not what a hole in seq is", () => {
    open().ready(0);
    FakeEventSource.last.onmessage({ data: JSON.stringify(event(1, { seq: 3 })) });
    FakeEventSource.last.onmessage({ data: JSON.stringify(event(2, { seq: 90 })) });
    assert.deepEqual([handled, browser.polled.length, service.getStats().gapsDetected], [[1, 2], 0, 0]);
  });

  test("two at once are closed one after the other, in order", async () => {
    browser.answers = [found(2), found(4, 5)];
    open().ready(0);
    send(1, 3, 6, 7);
    await settle();
    assert.deepEqual(handled, upTo(7));
    assert.deepEqual([asked(0).until_seq, asked(1).since_seq, asked(1).until_seq], ["29", "30", "59"]);
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 7, gapsDetected: 2, gapsRecovered: 2 }));
  });

  test("larger than a page are read page by page", async () => {
    browser.answers = [answer(200, page([event(2), event(3)], { has_more: true })), found(4)];
    open().ready(0);
    send(1, 5);
    await settle();
    assert.deepEqual(handled, upTo(5));
    assert.equal(asked(1).since_seq, "30");
  });

  test("whose back-fill fails are tried again with growing delays, and counted once", async () => {
    browser.answers = [answer(500, {}), new TypeError("network"), answer(429, {}, { "Retry-After": "5" }), found(2)];
    open().ready(0);
    send(1, 3);
    await settle();
    assert.deepEqual([handled, errors, service.state], [[1], ["backfill"], "connected"]);
    await browser.clock.advance(500);
    assert.equal(browser.polled.length, 2);
    await browser.clock.advance(1000);
    assert.equal(browser.polled.length, 3);
    await browser.clock.advance(6999);
    assert.equal(browser.polled.length, 3, "Retry-After and the backoff");
    await browser.clock.advance(1);
    assert.deepEqual(handled, upTo(3));
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 3, errors: 3, gapsDetected: 1, gapsRecovered: 1 }));
  });

  test("that wait for another try are tried at once when the connection is back", async () => {
    browser.answers = [answer(500, {}), found(2)];
    open({ reconnectDelay: 20_000 }).ready(0);
    send(1, 3);
    await settle();
    FakeEventSource.last.control("rotate", { next_cursor: "30" });
    FakeEventSource.last.ready(30);
    await settle();
    assert.deepEqual(handled, upTo(3));
  });

  test("whose events are trimmed away are a reset, and what is kept goes on", async () => {
    browser.answers = [answer(410, { error: { code: "gone", reason: "trimmed", oldest_seq: 35, head_seq: 50, epoch: "e1" } }), found(4)];
    open().ready(0);
    send(1, 4);
    await settle();
    send(5);
    await settle();
    assert.deepEqual([handled, resets.length], [[1, 4, 5], 1]);
    assert.equal(asked(1).since_seq, "34");
  });

  test("that are open when it stops are counted once, and as recovered however they are closed", async () => {
    browser.answers = ["hang", "hang"];
    open().ready(0);
    send(1, 3);
    service.stop();
    service.start();
    send(2);
    await settle();
    assert.deepEqual(handled, upTo(3));
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 3, gapsDetected: 1, gapsRecovered: 1 }));
  });

  test("that the log does not have either are told, and passed over", async () => {
    browser.answers = [found()];
    open().ready(0);
    send(1, 3);
    await settle();
    assert.deepEqual([handled, errors], [[1, 3], ["gap_lost"]]);
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 2, errors: 1, gapsDetected: 1 }));
  });

  test("that the server refuses to fill close it", async () => {
    browser.answers = [answer(403, { error: { code: "forbidden" } })];
    open().ready(0);
    send(1, 3);
    await settle();
    assert.deepEqual([service.state, errors], ["closed", ["forbidden"]]);
  });

  test("before the first event are found too, when one comes back with a seq alone", async () => {
    browser.answers = [found(4)];
    open({ since_seq: 30 }).ready(30);
    send(5);
    assert.deepEqual(handled, []);
    await settle();
    assert.deepEqual([handled, asked(0).since_seq, asked(0).until_seq], [[4, 5], "30", "49"]);
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 2, gapsDetected: 1, gapsRecovered: 1 }));
  });

  for (const [name, answers] of [
    ["nothing is missing there", () => [found()]],
    ["that cannot be asked", () => [answer(500, {})]],
  ]) {
    test(`when ${name}, it goes on from the seq`, async () => {
      browser.answers = answers();
      open({ since_seq: 30 }).ready(30);
      send(4, 5);
      await settle();
      send(6);
      assert.deepEqual([handled, browser.polled.length, service.getStats().gapsDetected], [[4, 5, 6], 1, 0]);
    });
  }

  test("that a filter makes are recovered, as from a bad proxy", async () => {
    browser.answers = [found(2)];
    open({ filter: ({ revision }) => revision !== 2 }).ready(0);
    send(1, 2, 3);
    await settle();
    assert.deepEqual([handled, service.getStats().gapsRecovered], [upTo(3), 1]);
  });

  test("without detection are left alone, and _handleGap reads what was missed", async () => {
    open({ gapDetection: false }).ready(0);
    send(1, 4, 5);
    assert.deepEqual([handled, browser.polled.length], [[1, 4, 5], 0]);
    browser.answers = [found(2, 3, 4, 5)];
    assert.equal(await service._handleGap(15), 2);
    assert.deepEqual([handled, asked(0)], [[1, 4, 5, 2, 3], { since_seq: "14", limit: "500", epoch: "e1" }]);
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 5, gapsDetected: 1, gapsRecovered: 1 }));
    browser.answers = [found(2, 3, 4, 5)];
    assert.equal(await service._handleGap(15), 0, "and hands out nothing twice");
  });

  test("_handleGap tells what it cannot read", async () => {
    open().ready(0);
    assert.equal(await service._handleGap(1), 0);
    assert.deepEqual(errors, ["backfill"]);
  });
});

describe("once and in order", () => {
  test("duplicates are dropped and counted", () => {
    open().ready(0);
    send(1, 2, 2, 1, 3);
    assert.deepEqual(handled, upTo(3));
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 3, duplicates: 2 }));
  });

  test("an event that the stream brings again after an interruption is handed out once", async () => {
    open().ready(0);
    send(1, 2);
    FakeEventSource.last.drop();
    await browser.clock.advance(500);
    assert.deepEqual([FakeEventSource.last.query.since_seq, FakeEventSource.last.query.epoch], ["20", "e1"]);
    send(2, 3);
    assert.deepEqual(handled, upTo(3));
  });

  test("events wait for an asynchronous handler", async () => {
    const finish = [];
    open({ onEvent: ({ revision }) => new Promise((resolve) => finish.push(() => resolve(handled.push(revision)))) }).ready(0);
    send(1, 2);
    await settle();
    assert.equal(finish.length, 1);
    finish[0]();
    await settle();
    finish[1]();
    await settle();
    assert.deepEqual(handled, [1, 2]);
  });

  for (const [name, fail] of [
    ["throws", () => assert.fail("boom")],
    ["rejects", () => Promise.reject(new Error("boom"))],
  ]) {
    test(`an event whose handler ${name} is handed out again, and nothing overtakes it`, async () => {
      let isBroken = true;
      open({ onEvent: ({ revision }) => (revision === 2 && isBroken ? fail() : void handled.push(revision)) }).ready(0);
      send(1, 2, 3);
      await settle();
      assert.deepEqual([handled, errors, service.state, service.position.seq], [[1], ["handler"], "connected", 10]);
      isBroken = false;
      await browser.clock.advance(500);
      assert.deepEqual([handled, service.position.seq, FakeEventSource.all.length], [upTo(3), 30, 1]);
      assert.deepEqual(service.getStats(), stats({ eventsReceived: 3, errors: 1 }), "and is counted once");
    });
  }

  test("a place that is reached while another one is read up to is read up to as well", async () => {
    const nothing = () => {};
    browser.answers = [found(1, 2), found(3)];
    const intake = new Intake(
      browser.environment,
      { position: { epoch: "e1", seq: 0, cursor: "0", revision: 0 }, detectsGaps: true, url: "/api/tasks/t-1/events" },
      { onEvent: ({ revision }) => void handled.push(revision), onHandled: nothing, onError: nothing, onReset: nothing, onRefused: nothing, onIdle: () => (ends += 1), onCount: nothing, backoffMs: () => 0 },
    );
    intake.start();
    intake.reach(20);
    intake.reach(30);
    await settle();
    intake.stop();
    assert.deepEqual([handled, browser.polled.length, ends], [upTo(3), 2, 2]);
  });

  test("no more than 10,000 events wait for a slow handler; the rest is read when it has caught up", async () => {
    let finish;
    open({ onEvent: ({ revision }) => (revision === 1 ? new Promise((resolve) => (finish = () => resolve(handled.push(1)))) : void handled.push(revision)) }).ready(0);
    send(...upTo(10_004));
    browser.answers = [answer(200, page([event(10_001), event(10_002)], { has_more: true })), found(10_003, 10_004)];
    finish();
    await settle();
    assert.deepEqual([handled.length, handled.at(-1), asked(0).since_seq, asked(0).until_seq], [10_004, 10_004, "100000", "100040"]);
    assert.deepEqual(service.getStats(), stats({ eventsReceived: 10_004 }));
  });

  test("a handler that always fails meets growing delays", async () => {
    open({ onEvent: () => assert.fail("boom") }).ready(0);
    send(1);
    for (const delay of [500, 1000, 2000]) {
      const before = errors.length;
      await browser.clock.advance(delay - 1);
      assert.equal(errors.length, before);
      await browser.clock.advance(1);
      assert.equal(errors.length, before + 1);
    }
  });
});

describe("resets", () => {
  test("another log is told, and everything in it is handed out from its beginning", () => {
    open().ready(0);
    send(1, 2);
    FakeEventSource.last.control("reset", { reason: "other_epoch", requested: 20, oldest_seq: 1, head_seq: 10, epoch: "e2" });
    send(1);
    FakeEventSource.last.ready(10, "e2");
    assert.deepEqual([handled, resets.length, resets[0].epoch, service.position], [[1, 2, 1], 1, "e2", { epoch: "e2", seq: 10, cursor: "10", revision: 1 }]);
  });

  test("another epoch at ready is one too", () => {
    open().ready(0);
    send(1, 2);
    FakeEventSource.last.ready(10, "e2");
    assert.deepEqual([resets[0].reason, FakeEventSource.last.query.since_seq, FakeEventSource.last.query.epoch], ["other_epoch", "0", "e2"]);
    send(1);
    assert.deepEqual(handled, [1, 2, 1]);
  });

  test("another epoch at ready than a back-fill has named is one too", async () => {
    const replaced = [1, 2, 3, 4].map((revision) => event(revision));
    browser.answers = [answer(200, page([], { epoch: "e1" })), answer(200, page(replaced, { epoch: "e2" }))];
    open({ since_seq: 30 });
    send(4);
    await settle();
    assert.deepEqual([handled, service.position.epoch], [[4], "e1"]);
    FakeEventSource.last.ready(40, "e2");
    await settle();
    assert.deepEqual([handled, resets.length, service.position.epoch], [[4, 1, 2, 3, 4], 1, "e2"]);
  });

  test("that are told twice are one, and what waits in the new log stays", async () => {
    browser.answers = [new TypeError("network"), found(1)];
    const details = { reason: "other_epoch", requested: 10, oldest_seq: 1, head_seq: 20, epoch: "e1" };
    open().ready(0, "e0");
    send(1);
    FakeEventSource.last.control("reset", details);
    send(2);
    await settle();
    FakeEventSource.last.control("reset", details);
    await browser.clock.advance(500);
    assert.deepEqual([handled, resets.length], [[1, 1, 2], 1]);
  });

  test("to a log that still has what was handled forget only what waits", async () => {
    browser.answers = ["hang"];
    open().ready(0);
    send(1, 3);
    FakeEventSource.last.control("reset", { reason: "past_head", requested: 30, oldest_seq: 1, head_seq: 10, epoch: "e1" });
    send(1, 2);
    await settle();
    assert.deepEqual([handled, resets], [[1, 2], []]);
    send(3);
    assert.deepEqual(handled, upTo(3));
  });

  for (const [head_seq, expected] of [
    [20, [1, 2]],
    [10, [1, 2, 2]],
  ]) {
    test(`to a log up to seq ${head_seq}, the second event, whose handler is running then, is handed out ${expected.length - 1} times`, async () => {
      const running = [];
      const finish = async () => {
        running.shift()?.();
        await settle();
      };
      open({ onEvent: ({ revision }) => new Promise((resolve) => running.push(() => resolve(handled.push(revision)))) }).ready(0);
      send(1, 2);
      await finish();
      FakeEventSource.last.control("reset", { reason: "past_head", requested: 20, oldest_seq: 1, head_seq, epoch: "e1" });
      await finish();
      send(1, 2);
      await finish();
      assert.deepEqual([handled, resets], [expected, []]);
    });
  }

  test("to a log that does not have what was handled begin anew", () => {
    open().ready(0);
    send(1, 2, 3);
    FakeEventSource.last.control("reset", { reason: "past_head", requested: 30, oldest_seq: 1, head_seq: 10, epoch: "e1" });
    send(1, 2);
    assert.deepEqual([handled, resets.length], [[1, 2, 3, 1, 2], 1]);
  });

  test("that history before the oldest kept event is trimmed is told, and it goes on from there", async () => {
    browser.answers = [found()];
    open();
    FakeEventSource.last.control("reset", { reason: "trimmed", requested: 0, oldest_seq: 35, head_seq: 60, epoch: "e1" });
    send(4, 5);
    FakeEventSource.last.ready(60);
    await settle();
    assert.deepEqual([handled, resets.length, service.getStats().gapsDetected, errors], [[4, 5], 1, 0, []]);
  });

  test("are told after a handler that is still running", async () => {
    let finish;
    open({ onEvent: () => new Promise((resolve) => (finish = resolve)) }).ready(0);
    send(1);
    FakeEventSource.last.ready(0, "e2");
    assert.equal(resets.length, 0);
    finish();
    await settle();
    assert.deepEqual([resets.length, service.position.seq], [1, 0], "and the old event does not move the new cursor");
  });
});

describe("the end", () => {
  test("is told after the last event, and closes", async () => {
    const order = [];
    const source = open({ onEnd: () => order.push("end"), onStateChange: (state) => order.push(state), onEvent: ({ revision }) => void order.push(revision) });
    source.ready(0);
    send(1);
    source.control("end", { reason: "task_complete", last_seq: 10 });
    assert.deepEqual(order, ["connecting", "connected", 1, "end", "closed"]);
    await browser.clock.advance(600_000);
    assert.equal(FakeEventSource.all.length, 1);
  });

  test("waits for a handler, and for the last events if they were lost", async () => {
    browser.answers = [found(2, 3)];
    let finish;
    const source = open({ onEvent: ({ revision }) => (revision === 3 ? new Promise((resolve) => (finish = () => resolve(handled.push(3)))) : void handled.push(revision)) });
    source.ready(0);
    send(1);
    source.control("end", { reason: "task_complete", last_seq: 30 });
    await settle();
    assert.deepEqual([handled, ends], [[1, 2], 0]);
    finish();
    await settle();
    assert.deepEqual([handled, ends, service.state, browser.polled.length], [upTo(3), 1, "closed", 1]);
  });

  test("is what 204 means at a later visit", async () => {
    browser.answers = [answer(200, page([], { ended: true }))];
    open({ since_seq: 30 }).refuse();
    await settle();
    assert.deepEqual([service.state, ends, errors], ["closed", 1, []]);
  });
});

describe("the remembered cursor", () => {
  const KEY = "towow.task:|e1|t-1";
  const kept = () => JSON.parse(browser.storage.getItem(KEY));

  test("is off unless asked for", () => {
    open().ready(0);
    send(1);
    assert.equal(browser.storage.writes, 0);
  });

  test("is sent back as the server gave it, at the next visit, too", () => {
    const storage = browser.storage;
    open({ storage }).ready(0);
    FakeEventSource.last.onmessage({ data: JSON.stringify(event(1)), lastEventId: "10.123456" });
    assert.equal(kept().cursor, "10.123456");
    service.stop();
    assert.equal(open({ storage }).query.since_seq, "10.123456");
    service.stop();
    assert.equal(open({ since_seq: "30.111111" }).query.since_seq, "30.111111");
  });

  test("is kept under the epoch and the task, after the handler returned", async () => {
    const seen = [];
    open({ storage: true, onEvent: async () => void seen.push(kept()?.seq ?? null) }).ready(0);
    send(1, 2);
    await settle();
    assert.deepEqual(seen, [0, 10]);
    assert.deepEqual([kept(), browser.storage.getItem("towow.task-epoch:")], [{ seq: 20, cursor: "20", revision: 2 }, "e1"]);
  });

  test("waits until the epoch is known", () => {
    open({ storage: true });
    send(1);
    assert.equal(browser.storage.writes, 0);
    FakeEventSource.last.ready(10);
    assert.equal(kept().seq, 10);
  });

  test("is where the next visit begins, with gaps found from its first event on", async () => {
    browser.answers = [found(3)];
    open({ storage: true }).ready(0);
    send(1, 2);
    service.stop();
    open({ storage: true });
    assert.deepEqual([FakeEventSource.last.query.since_seq, FakeEventSource.last.query.epoch], ["20", "e1"]);
    FakeEventSource.last.ready(20);
    send(4);
    await settle();
    assert.deepEqual([handled, service.getStats().gapsDetected], [upTo(4), 1]);
  });

  test("gives way to an explicit since_seq", () => {
    browser.storage.setItem("towow.task-epoch:", "e1");
    browser.storage.setItem(KEY, '{"seq":20,"revision":2}');
    assert.equal(open({ storage: true, since_seq: 5 }).query.since_seq, "5");
  });

  test("of another task, server or log does not count", () => {
    browser.storage.setItem("towow.task-epoch:", "e2");
    browser.storage.setItem(KEY, '{"seq":20,"revision":2}');
    browser.storage.setItem("towow.task:|e2|t-2", '{"seq":20,"revision":2}');
    assert.equal(open({ storage: true }).query.since_seq, "0");
  });

  for (const value of ["{", '"7"', "null", '{"seq":-1}', '{"seq":1.5}', "[]"]) {
    test(`that reads ${value} counts as none`, () => {
      browser.storage.setItem("towow.task-epoch:", "e1");
      browser.storage.setItem(KEY, value);
      assert.equal(open({ storage: true }).query.since_seq, "0");
    });
  }

  test("may be kept elsewhere, and a storage that throws does no harm", () => {
    const storage = new FakeStorage();
    open({ storage }).ready(0);
    send(1);
    assert.equal(JSON.parse(storage.getItem(KEY)).seq, 10);
    service.stop();
    const broken = () => {
      throw new Error("blocked");
    };
    open({ storage: { getItem: broken, setItem: broken, removeItem: broken } }).ready(0);
    send(1);
    assert.deepEqual([handled, errors], [[1, 1], []]);
  });
});

describe("stop", () => {
  for (const [name, prepare] of [
    ["while connecting", () => {}],
    ["while connected", () => FakeEventSource.last.ready(0)],
    ["while it waits for the next try", () => FakeEventSource.last.drop()],
    [
      "while a gap is filled",
      () => {
        browser.answers = ["hang"];
        send(1, 3);
      },
    ],
    [
      "while a back-fill waits for its next try",
      async () => {
        browser.answers = [answer(500, {})];
        send(1, 3);
        await settle();
      },
    ],
    ["from the handler", () => ((service.options.onEvent = () => service.stop()), send(1, 2))],
    ["from onStateChange", () => ((service.options.onStateChange = () => service.stop()), FakeEventSource.last.drop())],
    [
      "from onError",
      async () => {
        service.options.onError = () => service.stop();
        browser.answers = [answer(500, {})];
        send(1, 3);
        await settle();
      },
    ],
    [
      "after a handler failed",
      () => {
        service.options.onEvent = () => assert.fail("boom");
        send(1);
      },
    ],
  ]) {
    test(`${name} leaves no timer, no listener and no connection`, async () => {
      open();
      await prepare();
      service.stop();
      assert.deepEqual([browser.clock.pending, browser.listeners, FakeEventSource.open.length], [0, 0, 0]);
      assert.equal(service.state, "closed");
      const [before, tried] = [handled.length, FakeEventSource.all.length];
      send(1, 2, 3);
      await browser.clock.advance(600_000);
      assert.deepEqual([handled.length, FakeEventSource.all.length], [before, tried]);
    });
  }

  test("and start go on after the last event that was handled", () => {
    open().ready(0);
    send(1, 2);
    service.stop();
    service.start();
    service.start();
    assert.deepEqual([FakeEventSource.all.length, FakeEventSource.last.query.since_seq], [2, "20"]);
    send(3);
    assert.deepEqual(handled, upTo(3));
  });
});
