/**
 * The promises of js/ui/shell.js and of what is around every page: a page is as well as the worst of its streams, remembers what it
 * may, and leads to all others.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { remembered, worst } from "../../../server/static/js/ui/shell.js";
import { FakeStorage } from "../support/support.mjs";

const STATIC = fileURLToPath(new URL("../../../server/static/", import.meta.url));
const state = (name, reason = null) => ({ name, attempt: 0, nextTryAt: null, reason });

describe("the connection of several streams", () => {
  for (const [names, expected] of [
    [[], "connecting"],
    [["connected"], "connected"],
    [["connected", "connecting"], "connecting"],
    [["reconnecting", "connected", "polling"], "reconnecting"],
    [["offline", "reconnecting"], "offline"],
    [["connected", "closed"], "closed"],
  ]) {
    test(`is ${expected} of ${names.join(", ") || "none"}`, () => {
      assert.equal(worst(names.map((name) => state(name))).name, expected);
    });
  }

  test("is not made worse by a stream after which nothing follows", () => {
    assert.equal(worst([state("closed", "ended"), state("connected")]).name, "connected");
    assert.equal(worst([state("closed", "forbidden"), state("connected")]).reason, "forbidden");
  });
});

test("what is remembered is empty at first, and a blocked storage does no harm", () => {
  const kept = remembered(new FakeStorage(), "key");
  assert.equal(kept.get(), "");
  kept.set("value");
  assert.equal(kept.get(), "value");
  const refuse = () => {
    throw new Error("blocked");
  };
  const blocked = remembered({ getItem: refuse, setItem: refuse }, "key");
  blocked.set("value");
  assert.equal(blocked.get(), "");
  assert.equal(remembered(null, "key").get(), "");
});

describe("the way between the pages", () => {
  const pages = readdirSync(STATIC).filter((name) => name.endsWith(".html"));
  const addressOf = (name) => (name === "demands.html" ? "/" : `/${name}`);
  const navigation = (name) => /<nav class="pages"[^]*?<\/nav>/.exec(readFileSync(`${STATIC}${name}`, "utf8"))?.[0] ?? "";
  const links = (name) => [...navigation(name).matchAll(/<a href="([^"]+)"( aria-current="page")?[^>]*>/g)].map(([, href, current]) => [href, Boolean(current)]);

  for (const name of pages) {
    test(`is the same on ${name}, which marks itself`, () => {
      assert.deepEqual(
        links(name),
        links("demands.html").map(([href]) => [href, href === addressOf(name)]),
      );
      assert.ok(links(name).some(([, isCurrent]) => isCurrent));
    });
  }

  test("leads to every page", () => {
    assert.deepEqual(links("demands.html").map(([href]) => href).sort(), pages.map(addressOf).sort());
  });
});
