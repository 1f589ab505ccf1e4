/** The promises of js/lib/snapshot-feed.js: read until it works, follow from exactly there, read again after a reset, silent once closed. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

import { RequestError } from "../../../server/static/js/lib/http.js";
import { followWhole, readUntilItWorks, SnapshotFeed } from "../../../server/static/js/lib/snapshot-feed.js";
import { event, FakeEventSource, fakeBrowser, settle } from "../support/support.mjs";

const LONGEST_PAUSE_MS = 4000;

/** A feed over snapshots that the test hands out; an Error makes the reading fail, a promise is waited for. */
function feedOf(snapshots, options = {}) {
  const browser = fakeBrowser();
  const calls = [];
  const feed = new SnapshotFeed({
    read: async () => {
      calls.push("read");
      const next = await snapshots.shift();
      if (next instanceof Error) throw next;
      return next;
    },
    onSnapshot(seq, isReset) {
      calls.push(isReset ? `again ${seq}` : `shown ${seq}`);
      return seq === 0 ? null : { epoch: "e1", id: String(seq) };
    },
    onFailed: ({ status }) => calls.push(`failed ${status}`),
    stream: {
      streams: ["demand:*"],
      environment: { ...browser.environment, localStorage: null },
      onEvent: ({ seq }) => calls.push(`event ${seq}`),
      onHandlerError: () => calls.push("handler failed"),
    },
    ...options,
  });
  return { feed, calls, browser };
}

describe("a feed of a snapshot and its stream", () => {
  beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout"] });
    // Nobody is asked for a login: the server does not say who we are.
    mock.method(globalThis, "fetch", () => Promise.reject(new TypeError("network")));
  });
  afterEach(() => {
    mock.restoreAll();
    mock.timers.reset();
  });

  test("follows from where the snapshot ends", async () => {
    const { feed, calls } = feedOf([7]);
    assert.deepEqual([feed.state, feed.seq], [null, 0]);
    await feed.begin();
    assert.equal(FakeEventSource.last.query.since_seq, "7");
    FakeEventSource.last.event(8);
    assert.deepEqual(calls, ["read", "shown 7", "event 8"]);
    assert.equal(feed.seq, 8);
    assert.equal(feed.state.name, "connecting");
  });

  test("reads again after a while, until it works", async () => {
    const { feed, calls } = feedOf([new RequestError("", 0), new RequestError("", 503), 3]);
    void feed.begin();
    for (let pause = 0; pause < 2; pause += 1) {
      await settle();
      mock.timers.tick(LONGEST_PAUSE_MS);
    }
    await settle();
    assert.deepEqual(calls, ["read", "failed 0", "read", "failed 503", "read", "shown 3"]);
    assert.equal(FakeEventSource.open.length, 1);
  });

  test("does not insist where the server refuses, but tries again when it is asked to", async () => {
    const { feed, calls } = feedOf([new RequestError("", 403), 3]);
    await feed.begin();
    mock.timers.tick(LONGEST_PAUSE_MS);
    await settle();
    assert.deepEqual(calls, ["read", "failed 403"]);
    feed.reconnectNow();
    await settle();
    assert.deepEqual(calls.slice(2), ["read", "shown 3"]);
  });

  test("may count other answers as a refusal", async () => {
    const { feed, calls } = feedOf([new RequestError("", 404)], { refusals: [404] });
    await feed.begin();
    mock.timers.tick(LONGEST_PAUSE_MS);
    await settle();
    assert.deepEqual(calls, ["read", "failed 404"]);
  });

  test("has no stream where nothing can follow", async () => {
    const { feed, calls } = feedOf([0]);
    await feed.begin();
    assert.deepEqual(calls, ["read", "shown 0"]);
    assert.equal(FakeEventSource.all.length, 0);
    assert.equal(feed.state, null);
  });

  test("that begins anew ends the reading before, and shows one snapshot", async () => {
    let answer;
    const { feed, calls } = feedOf([new Promise((resolve) => (answer = resolve)), 5]);
    void feed.begin();
    await settle();
    feed.reconnectNow();
    await settle();
    answer(4);
    await settle();
    assert.deepEqual(calls, ["read", "read", "shown 5"]);
    assert.equal(FakeEventSource.open.length, 1);
  });

  test("reads the snapshot again after a reset, and goes on from there", async () => {
    const { feed, calls } = feedOf([7, 2]);
    await feed.begin();
    FakeEventSource.last.control("reset", { reason: "other_epoch", oldest_seq: 1, head_seq: 2, epoch: "e2" });
    await settle();
    assert.deepEqual(calls, ["read", "shown 7", "read", "again 2"]);
    assert.equal(FakeEventSource.last.query.since_seq, "2");
  });

  test("whose snapshot cannot be read after a reset connects again, and is reset again", async () => {
    const { feed, calls, browser } = feedOf([7, new RequestError("", 503), 2]);
    await feed.begin();
    const reset = () => FakeEventSource.last.control("reset", { reason: "other_epoch", oldest_seq: 1, head_seq: 2, epoch: "e2" });
    reset();
    await settle();
    assert.equal(feed.state.reason, "handler");
    await browser.clock.advance(60_000);
    reset();
    await settle();
    assert.deepEqual(calls, ["read", "shown 7", "read", "handler failed", "read", "again 2"]);
  });

  test("is woken by hand, unless nothing will follow", async () => {
    const { feed } = feedOf([7]);
    await feed.begin();
    feed.reconnectNow();
    assert.equal(FakeEventSource.all.length, 2);
    FakeEventSource.last.control("end", { reason: "stream_ended", last_seq: 7 });
    feed.reconnectNow();
    assert.deepEqual([feed.state.reason, FakeEventSource.all.length], ["ended", 2]);
  });

  test("that was closed shows nothing, has no connection and reads no more", async () => {
    let answer;
    const late = feedOf([new Promise((resolve) => (answer = resolve))]);
    void late.feed.begin();
    await settle();
    late.feed.close();
    answer(4);
    await settle();
    await late.feed.begin();
    assert.deepEqual(late.calls, ["read"]);

    const waiting = feedOf([new RequestError("", 0), 3]);
    const begun = waiting.feed.begin();
    await settle();
    waiting.feed.close();
    await begun;
    assert.deepEqual(waiting.calls, ["read", "failed 0"]);

    const followed = feedOf([7]);
    await followed.feed.begin();
    followed.feed.close();
    assert.deepEqual([FakeEventSource.open.length, followed.browser.clock.pending], [0, 0]);
  });
});

test("what is read until it works is given back, and an ended reading gives null", async () => {
  mock.method(globalThis, "fetch", () => Promise.reject(new TypeError("network")));
  const ending = new AbortController();
  assert.equal(await readUntilItWorks(async () => "read", ending.signal), "read");
  ending.abort();
  assert.equal(await readUntilItWorks(async () => "read", ending.signal), null);
  mock.restoreAll();
});

test("a stream that is shown whole begins at its first event, and begins again after a reset", async () => {
  const { environment } = fakeBrowser();
  const calls = [];
  const stream = followWhole({
    stream: "mcp:s-1",
    path: "/events/s-1",
    onBegin: () => calls.push("begin"),
    onEvent: ({ seq }) => calls.push(seq),
    onState: () => undefined,
    environment,
  });
  const source = FakeEventSource.last;
  assert.equal(source.url.pathname, "/events/s-1");
  assert.deepEqual([source.query.start, source.query.allow_pending], ["beginning", "1"]);
  source.onmessage({ data: JSON.stringify(event(1, "mcp:s-1")) });
  source.control("reset", { reason: "pruned", oldest_seq: 5, head_seq: 9, epoch: "e1" });
  assert.deepEqual(calls, ["begin", 1, "begin"]);
  stream.close();
});
