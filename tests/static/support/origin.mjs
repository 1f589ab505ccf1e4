/**
 * Several tabs of one origin and a server with one task, all on one clock: locks, channels, connections and pages take their time
 * by a seeded die, so that every interleaving can be had again.
 */

import { seqDigits } from "../../../server/static/js/lib/cursor.js";
import { FakeClock, FakeStorage, settle } from "./support.mjs";

const cursorOf = (seq) => (seq === 0 ? "0" : `${seq}.123456`);

/** A die that falls the same way for the same seed (mulberry32). */
export function die(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Web Locks of one origin: one holder and a queue per name. */
class FakeLocks {
  #names = new Map();
  #clock;

  constructor(clock) {
    this.#clock = clock;
  }

  /** Who holds a lock, by name of the tab. */
  holder(name) {
    return this.#names.get(name)?.held?.tab ?? null;
  }

  request(tab, name, { signal, steal = false }, run) {
    const lock = this.#names.get(name) ?? { held: null, queue: [] };
    this.#names.set(name, lock);
    return new Promise((resolve, reject) => {
      const asked = { tab, run, resolve, reject };
      signal?.addEventListener("abort", () => {
        const index = lock.queue.indexOf(asked);
        if (index >= 0) lock.queue.splice(index, 1);
        if (index >= 0) reject(new DOMException("aborted", "AbortError"));
      });
      if (steal && lock.held) {
        lock.held.reject(new DOMException("stolen", "AbortError"));
        lock.held = null;
      }
      if (steal) lock.queue.unshift(asked);
      else lock.queue.push(asked);
      this.#grant(lock);
    });
  }

  /** What a closed tab held or waited for is given up. */
  release(tab) {
    for (const lock of this.#names.values()) {
      lock.queue = lock.queue.filter((asked) => asked.tab !== tab);
      if (lock.held?.tab === tab) lock.held = null;
      this.#grant(lock);
    }
  }

  #grant(lock) {
    if (lock.held || lock.isGranting || !lock.queue.length) return;
    lock.isGranting = true;
    this.#clock.setTimeout(() => {
      lock.isGranting = false;
      const asked = lock.queue.shift();
      if (!asked) return;
      lock.held = asked;
      Promise.resolve(asked.run())
        .then(asked.resolve, asked.reject)
        .finally(() => {
          if (lock.held === asked) lock.held = null;
          this.#grant(lock);
        });
    }, 1);
  }
}

/** A server with one task, `t-1`; other tasks make holes in its seqs. */
export class FakeServer {
  epoch = "e1";
  head = 0;
  events = [];
  trimmedSeq = 0;
  isUp = true;
  isOver = false;
  /** Chance that a page cannot be read. */
  failingPages = 0;
  connections = new Set();
  /** What was asked for over REST. */
  pages = [];
  opened = 0;
  #clock;
  #random;

  constructor(clock, random) {
    this.#clock = clock;
    this.#random = random;
  }

  append(count = 1, event_type = "progress_update", holes = 0) {
    for (let i = 0; i < count; i += 1) {
      this.head += 1 + holes;
      const revision = this.events.length + 1;
      const event = { seq: this.head, revision, event_id: `${this.epoch}-${revision}`, event_type, task_id: "t-1", phase: null, span_id: null, payload: {}, timestamp: "2026-01-01T00:00:00.000Z", source: "test" };
      this.events.push(event);
      if (event_type === "task_complete") this.isOver = true;
      for (const connection of this.connections) connection.offer(event);
    }
  }

  /** Another database: what was, is not. */
  replace(count) {
    this.epoch = `e${Number(this.epoch.slice(1)) + 1}`;
    this.head = 0;
    this.events = [];
    this.kill();
    this.append(count);
    this.isUp = true;
  }

  kill() {
    this.isUp = false;
    for (const connection of [...this.connections]) connection.drop();
  }

  /** What the server says to a cursor that is not of this log, else null. */
  resetOf(since, epoch) {
    const reason = epoch && epoch !== this.epoch ? "other_epoch" : since > this.head ? "past_head" : since < this.trimmedSeq ? "trimmed" : null;
    return reason && { reason, requested: since, oldest_seq: this.trimmedSeq + 1, head_seq: this.head, epoch: this.epoch };
  }

  async fetch(url, { signal } = {}) {
    await new Promise((resolve) => this.#clock.setTimeout(resolve, 1 + this.#random() * 30));
    if (signal?.aborted) throw new Error("aborted");
    const query = new URL(url, "http://localhost").searchParams;
    this.pages.push(Object.fromEntries(query));
    if (!this.isUp || this.#random() < this.failingPages) throw new TypeError("network");
    const since = Number(seqDigits(query.get("since_seq") ?? "0"));
    const until = query.has("until_seq") ? Number(query.get("until_seq")) : Infinity;
    const reset = this.resetOf(since, query.get("epoch"));
    if (reset) return answerOf(410, { error: { code: "gone", ...reset } });
    const limit = Math.min(Number(query.get("limit") ?? 100), this.pageLimit ?? 1000);
    const found = this.events.filter(({ seq }) => seq > Math.max(since, this.trimmedSeq) && seq <= until);
    const events = found.slice(0, limit);
    const next_since_seq = events.at(-1)?.seq ?? since;
    return answerOf(200, { events, has_more: found.length > limit, next_cursor: cursorOf(next_since_seq), next_since_seq, head_seq: this.head, epoch: this.epoch, ended: this.isOver });
  }
}

function answerOf(status, body) {
  const text = JSON.stringify(body);
  return { status, ok: status < 400, json: async () => JSON.parse(text), headers: new Headers() };
}

/** One connection to the server, for the tab that opened it. */
function connectionClass(tab, { server, clock, random }) {
  return class FakeConnection {
    readyState = 0;
    onopen = null;
    onmessage = null;
    onerror = null;
    #listeners = new Map();
    #at = clock.now;

    constructor(url) {
      this.url = new URL(url, "http://localhost");
      this.query = Object.fromEntries(this.url.searchParams);
      tab.sources.push(this);
      server.opened += 1;
      this.#later(() => this.#answer());
    }

    addEventListener(name, listener) {
      this.#listeners.set(name, listener);
    }

    close() {
      this.readyState = 2;
      server.connections.delete(this);
    }

    offer(event) {
      this.sent = event.seq;
      if (random() < (server.dropping ?? 0)) return;
      this.#later(() => {
        this.onmessage?.({ data: JSON.stringify(event), lastEventId: cursorOf(event.seq) });
        if (event.event_type === "task_complete") this.control("end", { reason: "task_complete", last_seq: event.seq });
      });
    }

    control(name, data) {
      if (this.readyState !== 2) this.#listeners.get(name)?.({ data: JSON.stringify(data), lastEventId: "" });
    }

    /** It had its share. */
    rotate() {
      server.connections.delete(this);
      const { sent } = this;
      this.#later(() => this.control("rotate", { next_cursor: cursorOf(sent) }));
    }

    drop() {
      server.connections.delete(this);
      this.#later(() => this.readyState !== 2 && this.#fail(0));
    }

    #answer() {
      if (!server.isUp) return this.#fail(0);
      let since = Number(seqDigits(this.query.since_seq));
      const reset = server.resetOf(since, this.query.epoch);
      this.readyState = 1;
      this.onopen?.({});
      if (reset) {
        this.control("reset", reset);
        since = server.trimmedSeq;
      }
      this.sent = since;
      server.connections.add(this);
      for (const event of server.events.filter(({ seq }) => seq > since)) this.offer(event);
      const { head, epoch } = server;
      this.#later(() => this.control("ready", { head_seq: head, cursor: cursorOf(head), epoch, replayed: 0, keepalive_seconds: 1e6 }));
      return undefined;
    }

    #fail(readyState) {
      this.readyState = readyState;
      server.connections.delete(this);
      this.onerror?.({});
    }

    /** In order, each after a while. */
    #later(run) {
      this.#at = Math.max(this.#at, clock.now + random() * 5);
      clock.setTimeout(() => tab.run(() => this.readyState !== 2 && run()), this.#at - clock.now);
    }
  };
}

export class Origin {
  clock = new FakeClock();
  storage = new FakeStorage();
  tabs = [];
  channels = new Set();

  constructor(seed = 1) {
    this.random = die(seed);
    this.server = new FakeServer(this.clock, this.random);
    this.locks = new FakeLocks(this.clock);
  }

  /** Let time go by for the server and all tabs. */
  async advance(milliseconds) {
    await settle();
    await this.clock.advance(milliseconds);
  }

  /** A tab: its environment, and what is left of it. */
  tab() {
    const origin = this;
    const { clock, random, server, locks, channels } = this;
    const listeners = new Map();
    const tab = {
      name: `tab ${this.tabs.length + 1}`,
      isAlive: true,
      isOnline: true,
      isFrozen: false,
      missed: [],
      timers: new Set(),
      sources: [],
      get listeners() {
        return [...listeners.values()].reduce((count, each) => count + each.size, 0);
      },
      get open() {
        return tab.sources.filter(({ readyState }) => readyState !== 2);
      },
      get channels() {
        return [...channels].filter((channel) => channel.tab === tab).length;
      },
      /** Run something in the tab; a tab that sleeps does it later, a closed one never. */
      run: (what) => {
        if (tab.isFrozen) tab.missed.push(what);
        else if (tab.isAlive) what();
      },
      dispatch: (type) => {
        for (const listener of [...(listeners.get(type) ?? [])]) tab.run(() => listeners.get(type).has(listener) && listener({}));
      },
      freeze: () => {
        tab.isFrozen = true;
      },
      thaw: () => {
        tab.isFrozen = false;
        for (const what of tab.missed.splice(0)) tab.run(what);
      },
      /** The tab is closed, without a goodbye. */
      close: () => {
        tab.isAlive = false;
        for (const source of tab.sources) source.close();
        for (const channel of [...channels]) if (channel.tab === tab) channels.delete(channel);
        locks.release(tab);
      },
    };
    class FakeChannel {
      onmessage = null;
      at = new Map();

      constructor(name) {
        this.name = name;
        this.tab = tab;
        channels.add(this);
      }

      postMessage(message) {
        const data = structuredClone(message);
        for (const other of channels) {
          if (other === this || other.name !== this.name) continue;
          const at = Math.max(this.at.get(other) ?? 0, clock.now + random() * 8);
          this.at.set(other, at);
          clock.setTimeout(() => other.tab.run(() => channels.has(other) && other.onmessage?.({ data })), at - clock.now);
        }
      }

      close() {
        channels.delete(this);
      }
    }
    tab.environment = {
      EventSource: connectionClass(tab, this),
      fetch: (url, init) => server.fetch(url, init),
      localStorage: this.storage,
      setTimeout: (run, milliseconds) => {
        const due = () => tab.timers.delete(id) && run(); // not if it was cleared while the tab slept
        const id = clock.setTimeout(() => tab.run(due), milliseconds);
        tab.timers.add(id);
        return id;
      },
      clearTimeout: (id) => {
        tab.timers.delete(id);
        clock.clearTimeout(id);
      },
      now: () => clock.now,
      random,
      addEventListener: (type, listener) => {
        listeners.set(type, (listeners.get(type) ?? new Set()).add(listener));
      },
      removeEventListener: (type, listener) => listeners.get(type)?.delete(listener),
      isOnline: () => tab.isOnline,
      isVisible: () => true,
      locks: { request: (name, options, run) => locks.request(tab, name, options, () => new Promise((resolve, reject) => tab.run(() => Promise.resolve(run()).then(resolve, reject)))) },
      BroadcastChannel: FakeChannel,
    };
    origin.tabs.push(tab);
    return tab;
  }
}
