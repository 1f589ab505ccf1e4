/**
 * The promises of js/components/ConnectionStatus.js: source 002's options, a countdown that ticks, counters, and no timer left.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

const STYLE = new URL("../../../server/static/js/components/ConnectionStatus.css", import.meta.url);

/** As much of a DOM as the component uses. */
class FakeElement {
  children = [];
  attributes = {};
  dataset = {};
  hidden = false;
  parent = null;
  text = "";

  constructor(tag) {
    this.tag = tag;
  }

  append(...nodes) {
    for (const node of nodes) {
      if (typeof node === "object") node.parent = this;
      this.children.push(node);
    }
  }

  replaceChildren() {
    this.children = [];
  }

  remove() {
    this.parent.children = this.parent.children.filter((child) => child !== this);
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  addEventListener() {}

  get textContent() {
    return this.children.map((child) => child.textContent ?? child).join("");
  }

  set textContent(text) {
    this.children = [text];
  }

  get all() {
    return this.children.flatMap((child) => (child instanceof FakeElement ? [child, ...child.all] : []));
  }

  find(name) {
    return this.all.find(({ attributes }) => attributes.class === `connection-status-${name}`);
  }
}

let ConnectionStatus;
let container;
let status;

beforeEach(async () => {
  mock.timers.enable({ apis: ["setInterval", "Date"], now: 1_000_000 });
  const head = new FakeElement("head");
  globalThis.Node = FakeElement;
  globalThis.document = {
    documentElement: { lang: "en" },
    head,
    createElement: (tag) => new FakeElement(tag),
    createTextNode: (text) => text,
    querySelectorAll: () => head.children,
  };
  ({ ConnectionStatus } = await import("../../../server/static/js/components/ConnectionStatus.js"));
  container = new FakeElement("div");
});

afterEach(() => {
  status?.destroy();
  mock.timers.reset();
  delete globalThis.document;
  delete globalThis.Node;
});

const show = (options = {}) => (status = new ConnectionStatus({ container, ...options }));
const label = () => container.find("label").textContent;
const timer = () => container.find("timer");

describe("a connection status", () => {
  test("says each state in words, and marks it for the style", () => {
    show();
    assert.deepEqual([label(), container.children[0].dataset.state], ["Not connected", "disconnected"]);
    const said = ["connecting", "connected", "reconnecting", "offline", "closed"].map((state) => {
      status.setState(state);
      return [container.children[0].dataset.state, label()];
    });
    assert.deepEqual(said, [
      ["connecting", "Connecting"],
      ["connected", "Connected"],
      ["reconnecting", "Connection lost"],
      ["offline", "Offline"],
      ["closed", "Closed"],
    ]);
  });

  test("counts down to the next try, outside of what a screen reader is told", () => {
    show().setState("reconnecting", { reconnectAttempt: 2, reconnectDelay: 2400 });
    const texts = [];
    for (let i = 0; i < 11; i += 1) {
      texts.push(timer().textContent);
      mock.timers.tick(250);
    }
    assert.deepEqual([...new Set(texts)], ["again in 3 s · attempt 2", "again in 2 s · attempt 2", "again in 1 s · attempt 2", "again now · attempt 2"]);
    assert.equal(container.find("state").attributes.role, "status");
    assert.ok(!container.find("state").all.includes(timer()));
    status.setState("connected");
    assert.deepEqual([timer().textContent, timer().hidden], ["", true]);
  });

  test("shows no countdown where none is wanted", () => {
    show({ showReconnectTimer: false }).setState("reconnecting", { reconnectDelay: 2000 });
    assert.equal(timer().hidden, true);
  });

  test("shows the counters, or none", () => {
    show().setStats({ eventsReceived: 12, reconnects: 1, errors: 2, gapsDetected: 3, gapsRecovered: 4, duplicates: 5 });
    const counted = container.find("stats").all.filter(({ tag }) => tag === "dd");
    assert.deepEqual(counted.map(({ dataset, textContent }) => [dataset.stat, textContent]), [
      ["eventsReceived", "12"],
      ["reconnects", "1"],
      ["errors", "2"],
      ["gapsDetected", "3"],
      ["gapsRecovered", "4"],
      ["duplicates", "5"],
    ]);
    status.destroy();
    show({ showStats: false }).setStats({ eventsReceived: 1 });
    assert.equal(container.find("stats"), undefined);
  });

  test("speaks the language of the page, or the one that is given", () => {
    document.documentElement.lang = "zh-CN";
    show().setState("reconnecting", { reconnectAttempt: 1, reconnectDelay: 1000 });
    assert.deepEqual([label(), timer().textContent], ["连接中断", "1 秒后重连 · 第 1 次尝试"]);
    status.destroy();
    show({ lang: "en" });
    assert.equal(label(), "Not connected");
  });

  test("links its style once for the page", () => {
    show();
    new ConnectionStatus({ container }).destroy();
    assert.deepEqual(document.head.children.map(({ rel, href }) => [rel, href]), [["stylesheet", STYLE.href]]);
    assert.ok(readFileSync(STYLE, "utf-8").includes('.connection-status[data-state="connected"]'));
  });

  test("needs a container", () => {
    assert.throws(() => new ConnectionStatus({ container: null }), /container/);
  });

  test("is gone after destroy(), with no timer, whatever is called then", () => {
    show().setState("reconnecting", { reconnectDelay: 60_000 });
    const node = timer();
    status.destroy();
    assert.equal(node.textContent, "again in 60 s");
    mock.timers.tick(10_000);
    assert.equal(node.textContent, "again in 60 s");
    status.setState("reconnecting", { reconnectDelay: 60_000 });
    mock.timers.tick(10_000);
    assert.deepEqual([node.textContent, container.children.length], ["", 0]);
  });
});
