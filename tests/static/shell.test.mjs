/**
 * The promises of js/shell.js: a page is as well as the worst of its streams, and remembers what it may.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { remembered, worst } from "../../server/static/js/shell.js";
import { FakeStorage } from "./support.mjs";

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
