/** Several tabs on one task: one connection, handed over when its tab goes, and each tab gets each event once and in order. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { EventStreamService } from "../../../server/static/js/services/EventStreamService.js";
import { Origin } from "../support/origin.mjs";
import { settle } from "../support/support.mjs";

const RUNS = Number(process.env.TABS_RUNS ?? 200);

/** A tab that watches the task; what it handled since the last reset is in `handled`, by revision. */
function watch(origin, options = {}) {
  const tab = origin.tab();
  const watcher = { tab, handled: [], states: [], resets: 0, errors: [], isEnded: false };
  watcher.stream = new EventStreamService("t-1", {
    environment: tab.environment,
    onEvent: ({ revision }) => {
      watcher.handled.push(revision);
    },
    onStateChange: (state) => watcher.states.push(state),
    onError: ({ code }) => watcher.errors.push(code),
    onReset: () => {
      watcher.resets += 1;
      watcher.handled.length = 0;
    },
    onEnd: () => {
      watcher.isEnded = true;
    },
    ...options,
  });
  watcher.stream.start();
  return watcher;
}

const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);
const openSources = (origin) => origin.tabs.flatMap(({ open }) => open).length;

describe("several tabs", () => {
  test("share one connection, and each handles everything once", async () => {
    const origin = new Origin();
    origin.server.append(5);
    const watchers = [watch(origin), watch(origin), watch(origin)];
    await origin.advance(1000);
    origin.server.append(5);
    await origin.advance(1000);
    for (const { handled, stream } of watchers) {
      assert.deepEqual(handled, upTo(10));
      assert.deepEqual([stream.state, stream.getStats().gapsDetected, stream.getStats().errors], ["connected", 0, 0]);
    }
    assert.deepEqual([openSources(origin), origin.server.opened], [1, 1]);
  });

  test("that opens later reads what was over REST, and hears the rest", async () => {
    const origin = new Origin();
    origin.server.append(1200);
    const first = watch(origin);
    await origin.advance(1000);
    const second = watch(origin);
    await origin.advance(1000);
    assert.deepEqual([second.stream.state, second.handled.length], ["connected", 1200], "it asks where the others are");
    origin.server.append(1);
    await origin.advance(100);
    assert.deepEqual(second.handled, upTo(1201));
    assert.deepEqual(first.handled, upTo(1201));
    assert.equal(origin.server.opened, 1);
    assert.deepEqual(second.stream.getStats(), { eventsReceived: 1201, reconnects: 0, errors: 0, gapsDetected: 0, gapsRecovered: 0, duplicates: 0 });
  });

  test("that opens later with a seq alone needs one page for what was", async () => {
    const origin = new Origin();
    origin.server.append(9);
    watch(origin);
    await origin.advance(500);
    origin.server.pages.length = 0;
    const second = watch(origin, { since_seq: 4 });
    await origin.advance(500);
    assert.deepEqual([second.handled, origin.server.pages.length], [[5, 6, 7, 8, 9], 1]);
  });

  test("hand over when the one that leads is stopped, or closed without a word", async () => {
    for (const leave of [(watcher) => watcher.stream.stop(), (watcher) => watcher.tab.close()]) {
      const origin = new Origin();
      const [first, second, third] = [watch(origin), watch(origin), watch(origin)];
      origin.server.append(3);
      await origin.advance(500);
      leave(first);
      origin.server.append(3);
      await origin.advance(500);
      assert.equal(openSources(origin), 1);
      assert.equal(second.tab.open.length, 1, "the next in the queue leads");
      assert.deepEqual([second.handled, third.handled], [upTo(6), upTo(6)]);
      leave(second);
      origin.server.append(1);
      await origin.advance(500);
      assert.deepEqual([third.handled, third.tab.open.length], [upTo(7), 1]);
      assert.equal(third.stream.getStats().gapsDetected, 0, "to be behind is no gap");
      assert.deepEqual(third.states, ["connecting", "connected", "connecting", "connected", "connecting", "connected"]);
      assert.deepEqual([second.stream.getStats().reconnects, third.stream.getStats().reconnects], [0, 0], "nor a reconnect");
    }
  });

  test("follow one whose next leader was behind, or ahead", async () => {
    const origin = new Origin();
    const first = watch(origin);
    let release;
    const slow = watch(origin, { onEvent: ({ revision }) => new Promise((resolve) => (release = () => resolve(void slow.handled.push(revision)))) });
    const third = watch(origin);
    origin.server.append(4);
    await origin.advance(500);
    assert.deepEqual([slow.handled, third.handled], [[], upTo(4)]);
    first.tab.close();
    origin.server.append(2);
    await origin.advance(500);
    assert.equal(slow.tab.open[0].query.since_seq, "0", "it connects from what it has handled");
    assert.deepEqual(third.handled, upTo(6));
    for (let i = 0; i < 6; i += 1) {
      release();
      await settle();
    }
    assert.deepEqual(slow.handled, upTo(6));
  });

  test("show the state of the one connection, with its attempts and its delay", async () => {
    const origin = new Origin();
    const [first, second] = [watch(origin), watch(origin)];
    await origin.advance(500);
    origin.server.kill();
    await origin.advance(20);
    for (const { stream } of [first, second]) {
      assert.equal(stream.state, "reconnecting");
      assert.equal(stream.reconnectAttempts, 1);
    }
    assert.ok(Math.abs(first.stream.currentReconnectDelay - second.stream.currentReconnectDelay) < 10);
    origin.server.isUp = true;
    await origin.advance(5000);
    assert.deepEqual(second.states, ["connecting", "connected", "reconnecting", "connecting", "connected"]);
    assert.equal(second.stream.getStats().reconnects, 1);
    assert.deepEqual(second.errors, ["network"]);
  });

  test("recover each for itself what the connection lost", async () => {
    const origin = new Origin();
    let isDropping = false;
    const first = watch(origin, { filter: ({ revision }) => !(isDropping && revision === 5) });
    const second = watch(origin);
    await origin.advance(500);
    isDropping = true;
    origin.server.append(6);
    await origin.advance(500);
    for (const { handled, stream } of [first, second]) {
      assert.deepEqual(handled, upTo(6));
      assert.deepEqual([stream.getStats().gapsDetected, stream.getStats().gapsRecovered], [1, 1]);
    }
  });

  test("that opens while events come takes none of them for a gap", async () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const origin = new Origin(seed);
      origin.server.append(5);
      watch(origin);
      await origin.advance(500);
      const second = watch(origin);
      origin.server.append(3);
      await origin.advance(500);
      assert.deepEqual([second.handled, second.stream.getStats().gapsDetected], [upTo(8), 0], `seed ${seed}`);
    }
  });

  test("begin anew together when the log is another one, or an older one", async () => {
    for (const change of [
      (server) => server.replace(3),
      (server) => {
        server.kill();
        server.events.length = 3;
        server.head = 3;
        server.isUp = true;
      },
    ]) {
      const origin = new Origin();
      const watchers = [watch(origin), watch(origin), watch(origin)];
      origin.server.append(6);
      await origin.advance(500);
      change(origin.server);
      await origin.advance(5000);
      for (const { handled, resets } of watchers) assert.deepEqual([handled, resets], [upTo(3), 1]);
    }
  });

  test("take no event of another log", async () => {
    const origin = new Origin();
    const [, second] = [watch(origin), watch(origin)];
    origin.server.append(2);
    await origin.advance(500);
    const stranger = new (origin.tab().environment.BroadcastChannel)("towow.task:|t-1");
    stranger.postMessage({ kind: "event", epoch: "e0", event: { ...origin.server.events[0], seq: 3, revision: 3 } });
    await origin.advance(100);
    assert.deepEqual(second.handled, upTo(2));
  });

  test("without autoReconnect give up one after the other, not all with the first", async () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const origin = new Origin(seed);
      const [first, second] = [watch(origin, { autoReconnect: false }), watch(origin, { autoReconnect: false })];
      await origin.advance(500);
      for (const connection of [...origin.server.connections]) connection.drop();
      await origin.advance(500);
      assert.deepEqual([first.stream.state, second.stream.state, openSources(origin)], ["disconnected", "connected", 1]);
    }
  });

  test("end together when the task does, and leave nothing", async () => {
    const origin = new Origin();
    const watchers = [watch(origin), watch(origin), watch(origin)];
    origin.server.append(3);
    await origin.advance(500);
    origin.server.append(1, "task_complete");
    await origin.advance(500);
    for (const { handled, stream, isEnded, tab } of watchers) {
      assert.deepEqual([handled, stream.state, isEnded], [upTo(4), "closed", true]);
      assert.deepEqual([tab.timers.size, tab.listeners, tab.open.length, tab.channels], [0, 0, 0, 0]);
    }
  });

  test("take the lock from a tab that sleeps, which follows when it wakes", async () => {
    const origin = new Origin();
    const [first, second] = [watch(origin), watch(origin)];
    await origin.advance(500);
    first.tab.freeze();
    origin.server.append(2);
    second.tab.dispatch("visibilitychange");
    await origin.advance(4000);
    assert.deepEqual(second.handled, upTo(2));
    first.tab.thaw();
    await origin.advance(500);
    origin.server.append(1);
    await origin.advance(500);
    assert.deepEqual([first.handled, second.handled], [upTo(3), upTo(3)]);
    assert.deepEqual([first.tab.open.length, second.tab.open.length], [0, 1]);
  });

  test("ask from time to time whether the leader is still there", async () => {
    const origin = new Origin();
    const [first, second] = [watch(origin), watch(origin)];
    await origin.advance(500);
    first.tab.freeze();
    origin.server.append(2);
    await origin.advance(35_000);
    assert.deepEqual([second.handled, second.tab.open.length], [upTo(2), 1]);
  });

  test("do not take it from a tab that answers, however long it is quiet", async () => {
    const origin = new Origin();
    const [first] = [watch(origin), watch(origin), watch(origin)];
    await origin.advance(600_000);
    assert.deepEqual([first.tab.open.length, origin.server.opened], [1, 1]);
  });

  for (const [name, change] of [
    ["has no locks", { locks: null }],
    ["has no channels", { BroadcastChannel: null }],
    [
      "refuses channels",
      {
        BroadcastChannel: class {
          constructor() {
            throw new DOMException("denied", "SecurityError");
          }
        },
      },
    ],
    ["refuses locks", { locks: { request: () => Promise.reject(new DOMException("denied", "SecurityError")) } }],
  ]) {
    test(`connect each for itself where the browser ${name}`, async () => {
      const origin = new Origin();
      const watchers = [0, 1].map(() => {
        const tab = origin.tab();
        const handled = [];
        const stream = new EventStreamService("t-1", { environment: { ...tab.environment, ...change }, onEvent: ({ revision }) => void handled.push(revision) });
        stream.start();
        return { stream, handled, tab };
      });
      origin.server.append(3);
      await origin.advance(500);
      assert.deepEqual(watchers.map(({ handled }) => handled), [upTo(3), upTo(3)]);
      assert.equal(openSources(origin), 2);
      for (const { stream, tab } of watchers) {
        stream.stop();
        await settle();
        assert.deepEqual([tab.timers.size, tab.listeners, tab.open.length, tab.channels], [0, 0, 0, 0]);
      }
    });
  }

  test("of different tasks or servers, or without sharing, do not meet", async () => {
    const origin = new Origin();
    watch(origin);
    watch(origin, { shared: false });
    watch(origin, { gapDetection: false });
    watch(origin, { baseUrl: "http://other.example" });
    await origin.advance(500);
    assert.equal(openSources(origin), 4);
  });
});

describe("under random interleavings", () => {
  /** One life of several tabs, by the die. */
  async function live(seed) {
    const origin = new Origin(seed);
    const { server, random } = origin;
    const upToNow = (high) => Math.floor(random() * high);
    server.pageLimit = 1 + upToNow(6);
    server.dropping = random() < 0.5 ? 0.15 : 0;
    server.failingPages = random() < 0.5 ? 0.3 : 0;
    const watchers = [];
    const begin = () => {
      const watcher = watch(origin, {
        maxReconnectDelay: 5000,
        onEvent: (event) => {
          if (random() < 0.03) throw new Error("the handler fails");
          if (random() < 0.7) return void watcher.handled.push(event.revision);
          return new Promise((resolve) => tabLater(watcher.tab, () => resolve(void watcher.handled.push(event.revision))));
        },
      });
      watchers.push(watcher);
    };
    const tabLater = (tab, run) => tab.environment.setTimeout(run, random() * 20);
    const pick = () => watchers[upToNow(watchers.length)];
    begin();
    const deeds = [
      () => server.append(1 + upToNow(4), "progress_update", upToNow(3)),
      () => server.append(1, "progress_update", upToNow(3)),
      () => server.append(1 + upToNow(20)),
      () => watchers.length < 6 && begin(),
      () => pick().stream.stop(),
      () => pick().stream.start(),
      () => watchers.length > 2 && pick().tab.close(),
      () => [...server.connections].forEach((connection) => connection.drop()),
      () => [...server.connections].forEach((connection) => connection.rotate()),
      () => (server.isUp ? server.kill() : (server.isUp = true)),
      () => (pick().tab.isFrozen ? pick().tab.thaw() : pick().tab.freeze()),
      () => pick().tab.dispatch("visibilitychange"),
      () => seed % 5 === 0 && random() < 0.1 && server.replace(upToNow(4)),
    ];
    for (let step = 0; step < 40; step += 1) {
      deeds[upToNow(deeds.length)]();
      await origin.advance(random() < 0.7 ? random() * 20 : random() * 3000);
      for (const { handled } of watchers) assert.deepEqual(handled, upTo(handled.length), `order, seed ${seed}`);
    }
    Object.assign(server, { isUp: true, dropping: 0, failingPages: 0 });
    for (const { tab, stream } of watchers) {
      tab.thaw();
      if (tab.isAlive) stream.start();
    }
    await origin.advance(80_000);
    server.append(1);
    await origin.advance(40_000);
    const alive = watchers.filter(({ tab }) => tab.isAlive);
    for (const { handled, tab } of alive) assert.deepEqual(handled, upTo(server.events.length), `${tab.name}, seed ${seed}`);
    if (alive.length) assert.equal(openSources(origin), 1, `connections, seed ${seed}`);
    for (const { stream, tab } of alive) {
      stream.stop();
      await settle();
      assert.deepEqual([tab.timers.size, tab.listeners, tab.open.length, tab.channels], [0, 0, 0, 0], `${tab.name} leaves nothing, seed ${seed}`);
    }
    return origin;
  }

  test(`no event is lost, doubled or out of order, and one connection is left, in ${RUNS} lives`, async () => {
    for (let seed = 1; seed <= RUNS; seed += 1) await live(seed);
  });

  test("a life is the same for the same seed", async () => {
    const [one, two] = [await live(7), await live(7)];
    assert.deepEqual(one.server.pages, two.server.pages);
  });
});
