/**
 * A browser made of plain objects: a clock that only moves when told, EventSources that the test drives, and a server
 * that answers polls from a list.
 */

export class FakeClock {
  now = 1_000_000;
  #timers = new Map();
  #nextId = 1;

  setTimeout = (run, milliseconds) => {
    const id = this.#nextId++;
    this.#timers.set(id, { at: this.now + Math.max(0, milliseconds), run });
    return id;
  };

  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  get pending() {
    return this.#timers.size;
  }

  /** Move on, running what falls due in its order; asynchronous work settles in between. */
  async advance(milliseconds) {
    const end = this.now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.now = due[1].at;
      due[1].run();
      await settle();
    }
    this.now = end;
    await settle();
  }
}

/** Let promises that can resolve do so. */
export async function settle() {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
}

export class FakeEventSource {
  static all = [];
  readyState = 0;
  isClosed = false;
  onopen = null;
  onmessage = null;
  onerror = null;
  #listeners = new Map();

  constructor(url) {
    this.url = new URL(url, "http://localhost");
    FakeEventSource.all.push(this);
  }

  static get last() {
    return FakeEventSource.all.at(-1);
  }

  static get open() {
    return FakeEventSource.all.filter((source) => !source.isClosed);
  }

  get query() {
    return Object.fromEntries(this.url.searchParams);
  }

  addEventListener(name, listener) {
    this.#listeners.set(name, listener);
  }

  close() {
    this.isClosed = true;
    this.readyState = 2;
  }

  /** Answer 200. */
  accept() {
    this.readyState = 1;
    this.onopen?.({});
  }

  event(seq, extra = {}) {
    this.onmessage?.({ data: JSON.stringify({ ...event(seq), ...extra }), lastEventId: String(seq) });
  }

  control(name, data) {
    this.#listeners.get(name)?.({ data: JSON.stringify(data), lastEventId: "" });
  }

  ready(head_seq, epoch = "e1", keepalive_seconds = 5) {
    this.accept();
    this.control("ready", { head_seq, cursor: String(head_seq), epoch, replayed: 0, keepalive_seconds });
  }

  /** The connection broke; the browser would try again by itself. */
  drop() {
    this.readyState = 0;
    this.onerror?.({});
  }

  /** Any answer that is no stream: the browser gives up. */
  refuse() {
    this.readyState = 2;
    this.onerror?.({});
  }
}

export function event(seq, stream = "demand:d-1", event_type = "note", payload = {}) {
  const timestamp = new Date(1_767_225_600_000 + seq * 1000).toISOString();
  return { seq, stream, revision: seq, event_id: `id-${seq}`, event_type, timestamp, source: "test", payload };
}

export function page(events, extra = {}) {
  const last = events.at(-1)?.seq ?? 0;
  const next = extra.next_since_seq ?? last;
  return { events, has_more: false, next_since_seq: next, next_cursor: String(next), head_seq: last, epoch: "e1", ...extra };
}

export function answer(status, body, headers = {}) {
  return new Response(body === undefined ? null : JSON.stringify(body), { status, headers });
}

export class FakeStorage {
  #values = new Map();
  writes = 0;

  getItem = (key) => this.#values.get(key) ?? null;

  setItem = (key, value) => {
    this.writes += 1;
    this.#values.set(key, String(value));
  };

  removeItem = (key) => this.#values.delete(key);
}

/** A whole fake browser; `answers` holds a Response, or an Error for a network failure, per poll. */
export function fakeBrowser({ random = 0.5 } = {}) {
  FakeEventSource.all = [];
  const clock = new FakeClock();
  const listeners = new Map();
  const browser = {
    clock,
    storage: new FakeStorage(),
    isOnline: true,
    isVisible: true,
    answers: [],
    polled: [],
    get listeners() {
      return listeners.size;
    },
    dispatch: async (type) => {
      listeners.get(type)?.({});
      await settle();
    },
  };
  browser.environment = {
    EventSource: FakeEventSource,
    fetch: (url, { signal } = {}) => {
      browser.polled.push(new URL(url, "http://localhost"));
      const next = browser.answers.shift() ?? new TypeError("network");
      if (next === "hang") {
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
      }
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
    },
    localStorage: browser.storage,
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    now: () => clock.now,
    random: () => random,
    addEventListener: (type, listener) => listeners.set(type, listener),
    removeEventListener: (type) => listeners.delete(type),
    isOnline: () => browser.isOnline,
    isVisible: () => browser.isVisible,
  };
  return browser;
}
