/** The promises of js/lib/html.js: text stays text, attributes cannot run code, rows that did not change are not touched. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { element, fill, icon, isSafeLink, reconcile, refill } from "../../../server/static/js/lib/html.js";
import { renderPayload } from "../../../server/static/js/demands/views/payload.js";
import { textOf } from "../../../server/static/js/ui/views/pieces.js";
import { CHANGES } from "../../../server/static/js/demands/negotiation-events.js";
import * as demands from "../../../server/static/js/demands/strings.js";
import { Translator } from "../../../server/static/js/ui/i18n.js";
import { event } from "../support/support.mjs";

const STATIC = fileURLToPath(new URL("../../../server/static/", import.meta.url));

/** As much of a DOM as the builders use; it knows elements and texts, and no way to parse markup. */
class FakeNode {
  children = [];
  attributes = {};
  dataset = {};
  listeners = {};
  parent = null;

  constructor(tag, text = null) {
    this.tag = tag;
    this.text = text;
  }

  set innerHTML(_) {
    throw new Error("innerHTML was used");
  }

  append(...nodes) {
    for (const node of nodes) this.insertBefore(node, null);
  }

  insertBefore(node, place) {
    node.remove();
    node.parent = this;
    const index = place ? this.children.indexOf(place) : this.children.length;
    this.children.splice(index, 0, node);
  }

  remove() {
    if (this.parent) this.parent.children.splice(this.parent.children.indexOf(this), 1);
    this.parent = null;
  }

  replaceChildren() {
    for (const child of [...this.children]) child.remove();
  }

  get firstElementChild() {
    return this.children[0] ?? null;
  }

  get nextElementSibling() {
    return this.parent?.children[this.parent.children.indexOf(this) + 1] ?? null;
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }

  get classList() {
    return { add: () => {}, toggle: () => true };
  }

  get textContent() {
    return this.text ?? this.children.map((child) => child.textContent).join("");
  }

  get tags() {
    return this.text === null ? [this.tag, ...this.children.flatMap((child) => child.tags)] : [];
  }
}

before(() => {
  globalThis.document = {
    createElement: (tag) => new FakeNode(tag),
    createElementNS: (_, tag) => new FakeNode(tag),
    createTextNode: (text) => new FakeNode("#text", text),
  };
});

describe("elements", () => {
  for (const text of ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt; & '\"`", "\u202e]]> <!--"]) {
    test(`${JSON.stringify(text)} stays text`, () => {
      const node = element("p", {}, text);
      assert.equal(node.textContent, text);
      assert.deepEqual(node.tags, ["p"]);
    });
  }

  test("empty children are left out, lists are flattened, numbers are written", () => {
    const node = element("p", {}, null, undefined, false, "", [element("b", {}, 0), "x"], 7);
    assert.equal(node.textContent, "0x7");
    assert.equal(node.children.length, 3);
  });

  test("true is an empty attribute, nothing is none", () => {
    const { attributes } = element("button", { disabled: true, title: null, hidden: false, lang: undefined, class: "a" });
    assert.deepEqual(attributes, { disabled: "", class: "a" });
  });

  for (const name of ["onclick", "ONERROR", "style", "srcdoc", "innerHTML", "formaction"]) {
    test(`the attribute ${name} is refused as text`, () => {
      assert.throws(() => element("a", { [name]: "alert(1)" }), TypeError);
    });
  }

  test("a function is a listener", () => {
    const run = () => {};
    assert.equal(element("button", { onclick: run }).listeners.click, run);
  });

  for (const href of ["javascript:alert(1)", " javascript:alert(1)", "JavaScript:x", "data:text/html,x", "//evil.example", "vbscript:x", ""]) {
    test(`a link to ${JSON.stringify(href)} is refused`, () => {
      assert.equal(isSafeLink(href), false);
      assert.throws(() => element("a", { href }), TypeError);
    });
  }

  for (const href of ["/api/events?stream=demand%3Ad-1", "#d-1", "#", "https://example.com/", "?a=1"]) {
    test(`a link to ${href} is allowed`, () => assert.equal(element("a", { href }).attributes.href, href));
  }

  test("an icon can only name a symbol of the page", () => {
    assert.equal(icon('x"><script>').children[0].attributes.href, "#icon-xscript");
  });

  test("refill builds again only for another version", () => {
    const node = element("div");
    let built = 0;
    for (const version of ["1", "1", "2"]) refill(node, version, () => `${(built += 1)}`);
    assert.equal(node.textContent, "2");
  });

  test("fill replaces what was there", () => {
    const node = element("div", {}, "old");
    fill(node, "new", element("b", {}, "!"));
    assert.equal(node.textContent, "new!");
  });
});

describe("reconcile", () => {
  const rows = (built) => ({
    key: ({ id }) => id,
    version: ({ text }) => text,
    build: ({ id, text }) => {
      built.push(id);
      return element("li", {}, text);
    },
  });
  const items = (...pairs) => pairs.map(([id, text]) => ({ id, text }));
  const texts = (parent) => parent.children.map((child) => child.textContent).join("");

  test("rows are appended, removed, moved and rebuilt, and only where needed", () => {
    const parent = element("ul");
    const built = [];
    reconcile(parent, items([1, "a"], [2, "b"], [3, "c"]), rows(built));
    assert.equal(texts(parent), "abc");
    const [first, , third] = parent.children;
    built.length = 0;
    reconcile(parent, items([3, "c"], [1, "a"], [2, "B"], [4, "d"]), rows(built));
    assert.equal(texts(parent), "caBd");
    assert.deepEqual(built, [2, 4]);
    assert.equal(parent.children[0], third);
    assert.equal(parent.children[1], first);
    reconcile(parent, [], rows(built));
    assert.equal(parent.children.length, 0);
  });

  test("any list turns into any other", () => {
    const letters = ["a", "b", "c", "d"];
    const lists = [[]];
    for (const letter of letters) lists.push(...lists.flatMap((list) => [...Array(list.length + 1)].map((_, i) => list.toSpliced(i, 0, letter))));
    for (const from of lists) {
      for (const to of lists) {
        const parent = element("ul");
        reconcile(parent, items(...from.map((id) => [id, id])), rows([]));
        reconcile(parent, items(...to.map((id) => [id, id + id])), rows([]));
        assert.equal(texts(parent), to.map((id) => id + id).join(""));
      }
    }
  });
});

describe("payloads", () => {
  const evil = "<img src=x onerror=alert(1)>";
  const t = new Translator("en", demands);
  const render = (type, payload) => element("div", {}, renderPayload(event(1, "demand:d-1", type, payload), t));

  test("an understanding shows its chips, its confidence and the text as it was written", () => {
    const node = render("towow.demand.understood", {
      surface_demand: "a venue",
      raw_input: "I need a venue",
      confidence: "high",
      capabilities: [{ capability: "venue", term: "场地" }, { capability: "talk", term: "talk" }],
    });
    for (const text of ["a venue", "I need a venue", "venue场地", "High confidence"]) assert.ok(node.textContent.includes(text), text);
    assert.ok(!node.textContent.includes("talktalk"));
  });

  test("candidates show name, id, reason and score", () => {
    const candidates = [{ agent_id: "bob", name: "Bob", reason: "event_planning: 活动策划", score: 3.456 }];
    const { textContent } = render("towow.filter.completed", { candidates });
    for (const text of ["1 agent can help", "Bob", "bob", "event planning: 活动策划", "3.5"]) assert.ok(textContent.includes(text), text);
  });

  test("no candidates and a failure are said in words", () => {
    assert.match(render("towow.filter.completed", { candidates: [] }).textContent, /No registered agent/);
    assert.match(render("towow.negotiation.failed", { reason: "no_candidates", message: "x" }).textContent, /no_candidates/);
    assert.match(render("towow.negotiation.failed", { reason: "other", message: "because" }).textContent, /because/);
  });

  test("an offer is a sentence and its text", () => {
    const offer = { content: "A loft.", terms: { price: 3, currency: "EUR" } };
    const { textContent } = render("towow.offer.submitted", { demand_id: "d-1", agent_id: "bob", name: "Bob", offer });
    assert.equal(textContent, "Bob offers for €3A loft.");
  });

  test("other events are names and values, without the ids that every row has", () => {
    const { textContent } = render("note", { demand_id: "d-1", channel_id: "c", agent_id: "bob", offer: { price: 3 } });
    assert.equal(textContent, 'agent_idboboffer{"price":3}');
  });

  const types = [...Object.keys(CHANGES), "note", "toString", "__proto__"];
  for (const type of types) {
    test(`${type} with hostile or broken payloads makes text only`, () => {
      for (const value of [evil, null, 7, [], [null], [evil], {}, { [evil]: evil }, [{ name: evil, reason: [evil], score: "NaN" }], true]) {
        const names = ["surface_demand", "raw_input", "capabilities", "confidence", "candidates", "reason", "message", "offer", "proposal", "decision", "outcome", "summary", evil];
        const node = render(type, Object.fromEntries(names.map((name) => [name, value])));
        assert.ok(!node.tags.includes("img") && !node.tags.includes("script"));
      }
    });
  }

  test("a value of any size is cut", () => {
    assert.equal(textOf("x".repeat(5000)).length, 601);
    assert.equal(textOf(null), "");
    assert.equal(textOf(0), "0");
  });
});

test("no file of the page parses text as markup or code", () => {
  const files = readdirSync(`${STATIC}js`, { recursive: true }).filter((name) => name.endsWith(".js"));
  assert.ok(files.length > 10);
  for (const name of files) {
    const code = readFileSync(`${STATIC}js/${name}`, "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    assert.doesNotMatch(code, /\.(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|location\.reload/, name);
  }
});

for (const page of readdirSync(STATIC).filter((name) => name.endsWith(".html"))) {
  test(`${page} holds nothing that the content security policy forbids`, () => {
    const html = readFileSync(`${STATIC}${page}`, "utf8");
    assert.doesNotMatch(html, /\sstyle=|\son[a-z]+=|javascript:|https?:\/\/(?!www\.w3\.org)/i);
    assert.doesNotMatch(html, /<script(?![^>]*\ssrc=)/i);
  });
}
