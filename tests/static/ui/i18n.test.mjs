/** The promises of the texts and js/ui/i18n.js: both languages say everything, with the same places to fill in. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chooseLanguage, rememberedLanguage, rememberLanguage, STRINGS, Translator } from "../../../server/static/js/ui/i18n.js";
import * as demands from "../../../server/static/js/demands/strings.js";
import { eventName } from "../../../server/static/js/demands/sentence.js";
import * as tasks from "../../../server/static/js/tasks/strings.js";
import * as generations from "../../../server/static/js/generations/strings.js";
import * as tools from "../../../server/static/js/tools/strings.js";
import { timeLeft } from "../../../server/static/js/ui/views/countdown.js";
import * as sessions from "../../../server/static/js/sessions/strings.js";
import { FakeStorage } from "../support/support.mjs";

const STATIC = fileURLToPath(new URL("../../../server/static/", import.meta.url));
const EVENT_TYPES = [
  "towow.demand.understood",
  "towow.filter.completed",
  "towow.demand.broadcast",
  "towow.offer.submitted",
  "towow.offer.declined",
  "towow.proposal.distributed",
  "towow.proposal.feedback",
  "towow.proposal.finalized",
  "towow.negotiation.failed",
  "towow.negotiation.cancelled",
  "towow.subnet.triggered",
  "towow.subnet.completed",
  "towow.gap.identified",
];
// Each page with the texts that it has: those of all pages, and its own.
const PAGES = [
  ["demands.html", demands],
  ["sessions.html", sessions],
  ["tools.html", tools],
  ["generations.html", generations],
  ["tasks.html", tasks],
];
const OWN = PAGES.map(([, own]) => own);
const ALL = {
  en: Object.assign({}, STRINGS.en, ...OWN.map(({ en }) => en)),
  zh: Object.assign({}, STRINGS.zh, ...OWN.map(({ zh }) => zh)),
};
const places = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();

describe("the texts", () => {
  test("both languages have the same keys, and no text is empty", () => {
    assert.deepEqual(Object.keys(ALL.zh), Object.keys(ALL.en));
    for (const texts of Object.values(ALL)) for (const text of Object.values(texts)) assert.ok(text.trim());
  });

  test("a page's own texts take the place of none that all pages have", () => {
    const own = OWN.flatMap(({ en }) => Object.keys(en));
    assert.deepEqual(own.filter((key, i) => Object.hasOwn(STRINGS.en, key) || own.indexOf(key) !== i), []);
  });

  test("each text has the same places in both languages", () => {
    for (const key of Object.keys(ALL.en)) assert.deepEqual(places(ALL.zh[key]), places(ALL.en[key]), key);
  });

  test("plurals come in pairs", () => {
    const keys = new Set(Object.keys(ALL.en));
    for (const key of keys) {
      if (key.endsWith(".other")) assert.ok(keys.has(key.replace(/other$/, "one")), key);
    }
  });

  test("every event type of a negotiation has a name in both languages", () => {
    for (const type of EVENT_TYPES) {
      const [en, zh] = [new Translator("en", demands), new Translator("zh", demands)].map((t) => eventName(type, t));
      assert.notEqual(en, type);
      assert.match(zh, /\p{Script=Han}/u);
    }
  });

  test("every key that the pages use exists, and every key is used", () => {
    const sources = readdirSync(`${STATIC}js`, { recursive: true })
      .filter((name) => name.endsWith(".js") && !name.endsWith("strings.js"))
      .map((name) => readFileSync(`${STATIC}js/${name}`, "utf8"));
    const text = [...sources, ...PAGES.map(([name]) => readFileSync(`${STATIC}${name}`, "utf8"))].join("\n");
    const used = [...text.matchAll(/(?:t\.text\(|data-text=|data-placeholder=|data-label=)"([\w.]+)"/g)].map((match) => match[1]);
    assert.ok(used.length > 40);
    for (const key of used) assert.ok(Object.hasOwn(ALL.en, key), key);
    const computed =
      /^(answer|decision|event|fate|gap|outcome|phase|reason|round|status|step|terms|connection|writer|payload\.confidence|outcome\.by|change|chat\.locked|happened|refused|risk|role|session|logged|task\.status|item\.status|remark|generations\.(agent|error|mode|model|now|reason|status|writer)|tool\.status|sentence\.(answer|proposed|finalized)|welcome\.step|theme)\./;
    for (const key of Object.keys(ALL.en)) {
      const base = key.replace(/\.(one|other)$/, "");
      assert.ok(computed.test(key) || text.includes(`"${base}"`), `${key} is not used`);
    }
  });

  for (const [name, own] of PAGES) {
    test(`${name} holds the English texts that it has`, () => {
      const html = readFileSync(`${STATIC}${name}`, "utf8");
      const texts = { ...STRINGS.en, ...own.en };
      for (const [, key, text] of html.matchAll(/data-text="([\w.]+)"[^>]*>([^<]+)</g)) assert.equal(text, texts[key], key);
      for (const [, key] of html.matchAll(/data-(?:label|placeholder)="([\w.]+)"/g)) assert.ok(Object.hasOwn(texts, key), key);
    });
  }

  test("a page's own texts are there in its language, beside those of all pages", () => {
    const t = new Translator("zh", sessions);
    assert.equal(t.text("chat.takeover"), "接管");
    assert.equal(t.text("nav.tools"), "工具");
    assert.equal(new Translator("zh").has("chat.takeover"), false);
  });

  test("there are examples in both languages", () => {
    assert.deepEqual([...new Set(demands.EXAMPLES.map(({ lang }) => lang))].sort(), ["en", "zh"]);
    for (const { lang, text } of demands.EXAMPLES) assert.equal(/\p{Script=Han}/u.test(text), lang === "zh");
  });
});

describe("the language", () => {
  for (const [remembered, preferred, expected] of [
    [null, ["zh-CN", "en"], "zh"],
    [null, ["zh"], "zh"],
    [null, ["zh-Hant-TW"], "zh"],
    [null, ["en-US"], "en"],
    [null, ["fr", "de", "zh-CN"], "zh"],
    [null, ["fr"], "en"],
    [null, [], "en"],
    ["en", ["zh-CN"], "en"],
    ["zh", ["en-US"], "zh"],
    ["klingon", ["zh-CN"], "zh"],
  ]) {
    test(`remembered ${remembered} and preferred ${preferred.join(", ") || "nothing"} gives ${expected}`, () => {
      assert.equal(chooseLanguage(remembered, preferred), expected);
    });
  }

  test("the choice is remembered, and a blocked storage does no harm", () => {
    const storage = new FakeStorage();
    rememberLanguage(storage, "zh");
    assert.equal(rememberedLanguage(storage), "zh");
    const blocked = () => {
      throw new Error("blocked");
    };
    rememberLanguage({ setItem: blocked }, "zh");
    assert.equal(rememberedLanguage({ getItem: blocked }), null);
    assert.equal(rememberedLanguage(null), null);
  });
});

describe("writing", () => {
  const en = new Translator("en", demands);
  const zh = new Translator("zh", demands);

  test("places are filled in; one that is unknown stays visible", () => {
    assert.equal(en.text("detail.missing", { id: "d-1" }), "There is no demand d-1");
    assert.equal(en.text("detail.missing"), "There is no demand {id}");
    assert.equal(en.text("no.such.key"), "no.such.key");
    assert.equal(en.text("detail.missing", { id: "$& {id}" }), "There is no demand $& {id}");
  });

  test("counts have a singular in English and group separators", () => {
    assert.equal(en.count("agents.count", 1), "1 agent");
    assert.equal(en.count("agents.count", 0), "0 agents");
    assert.equal(en.count("agents.count", 12_345), "12,345 agents");
    assert.equal(zh.count("agents.count", 2), "2 个智能体");
  });

  test("times are told in words when they are near", () => {
    const now = Date.parse("2026-01-01T12:00:00Z");
    assert.equal(en.ago("2026-01-01T11:59:40Z", now), "just now");
    assert.equal(en.ago("2026-01-01T12:00:30Z", now), "just now");
    assert.match(en.ago("2026-01-01T11:55:00Z", now), /^5 min/);
    assert.match(zh.ago("2026-01-01T09:00:00Z", now), /3/);
    assert.match(en.ago("2025-06-01T00:00:00Z", now), /2025/);
    assert.equal(en.ago("<b>", now), "<b>");
  });

  test("spans pick a unit", () => {
    assert.deepEqual([12, 3400, 300_000, 7_200_000].map((span) => en.span(span)), ["12 ms", "3.4 s", "5 min", "2 h"]);
  });

  test("money is written with its currency; a currency that is none stands behind the number, cut", () => {
    assert.equal(en.money(1500, "EUR"), "€1,500");
    assert.equal(en.money(0.5, "USD"), "US$0.5");
    assert.equal(zh.money(3000, "CNY"), "¥3,000");
    assert.equal(en.money(12, ""), "12");
    assert.equal(en.money(12, "<b>".repeat(100)), "12 <b><b><b><b>");
    assert.equal(en.money(-1e15, "eur"), "-1,000,000,000,000,000 eur");
  });

  test("a day has its weekday in every zone, and what is no day is given back", () => {
    assert.equal(en.day("2026-11-27"), "Fri, 27 Nov 2026");
    assert.match(zh.day("2026-11-27"), /周五/);
    for (const text of ["", "soon", "2026-13-45", "2026-11-27T00:00"]) assert.equal(en.day(text), text);
  });

  test("names are one enumeration", () => {
    assert.equal(en.list(["A", "B", "C"]), "A, B and C");
    assert.equal(zh.list(["甲", "乙"]), "甲和乙");
    assert.equal(en.list([]), "");
  });

  test("a countdown is told in the unit that people count in", () => {
    assert.deepEqual([1, 59, 60, 125, 7200].map((seconds) => timeLeft(seconds, en)), ["1 s", "59 s", "1:00 min", "2:05 min", "2 h"]);
  });

  test("a time that is no time is shown as it came", () => {
    assert.equal(en.clock("soon"), "soon");
    assert.equal(en.date("soon"), "soon");
  });
});
