/**
 * The promises of js/lib/access.js and http.js: who the page is, a login where one is needed, the CSRF token with every change.
 */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { access, Access, LoginFailed } from "../../../server/static/js/lib/access.js";
import { get, post, RequestError } from "../../../server/static/js/lib/http.js";
import { needsLogin } from "../../../server/static/js/lib/login-needed.js";
import { answer, settle } from "../support/support.mjs";

const ALICE = { name: "alice", read: ["*"], append: ["*"], expires_at: null, csrf: "c-1", auth: "token" };
const NOBODY = { name: null, read: [], append: [], expires_at: null, csrf: "", auth: "token" };
const OPEN = { ...ALICE, name: "anonymous", csrf: "", auth: "off" };

/** An access whose server gives these answers, and what it was asked. */
function asking(...answers) {
  const asked = [];
  const fetch = async (url, init = {}) => {
    asked.push([init.method ?? "GET", url, init.body]);
    const next = answers.shift();
    if (next instanceof Error || next === undefined) throw next ?? new TypeError("network");
    return next;
  };
  return { access: new Access(fetch), asked };
}

describe("who the page is", () => {
  for (const [session, state] of [[OPEN, "open"], [ALICE, "in"], [NOBODY, "out"]]) {
    test(`is ${state} after ${JSON.stringify(session.name)} with auth ${session.auth}`, async () => {
      const { access } = asking(answer(200, session));
      assert.equal(access.state, "unknown");
      await access.load();
      assert.equal(access.state, state);
    });
  }

  test("is asked once, however many want to know", async () => {
    const { access, asked } = asking(answer(200, ALICE));
    await Promise.all([access.ready(), access.ready(), access.ready()]);
    assert.equal(asked.length, 1);
  });

  test("stays unknown without an answer, and the page may try", async () => {
    const { access } = asking(new TypeError("network"));
    await access.ready();
    assert.equal(access.state, "unknown");
    assert.deepEqual(access.headers, {});
  });
});

describe("a login", () => {
  test("is waited for where one is needed, and brings the CSRF token", async () => {
    const { access, asked } = asking(answer(200, NOBODY), answer(200, ALICE));
    let isReady = false;
    const waiting = access.ready().then(() => (isReady = true));
    await settle();
    assert.equal(isReady, false);
    await access.logIn("secret");
    await waiting;
    assert.deepEqual(access.headers, { "X-CSRF-Token": "c-1" });
    assert.deepEqual(asked[1], ["POST", "/api/login", '{"token":"secret"}']);
  });

  test("that is refused changes nothing and says with what status", async () => {
    const { access } = asking(answer(200, NOBODY), answer(401, { error: { message: "no" } }), answer(429, {}), new TypeError("network"));
    await access.load();
    for (const status of [401, 429, 0]) {
      await assert.rejects(access.logIn("wrong"), (error) => error instanceof LoginFailed && error.status === status);
    }
    assert.equal(access.state, "out");
  });

  test("that ended is out, with no CSRF token left; where nobody is asked nothing ends", async () => {
    const { access } = asking(answer(200, ALICE));
    await access.load();
    let told = 0;
    access.onChange(() => (told += 1));
    access.refused();
    assert.deepEqual([access.state, access.headers, told], ["out", {}, 1]);
    const open = asking(answer(200, OPEN));
    await open.access.load();
    open.access.refused();
    assert.equal(open.access.state, "open");
  });

  test("is over after a logout, and not when the server did not do it", async () => {
    const { access } = asking(answer(200, ALICE), new TypeError("network"), answer(200, { success: true }));
    await access.load();
    await assert.rejects(access.logOut(), LoginFailed);
    assert.equal(access.state, "in");
    await access.logOut();
    assert.equal(access.state, "out");
  });

  test("is needed again when a stream says so", () => {
    const ended = (name, reason) => needsLogin({ name, reason, attempt: 0, nextTryAt: null });
    assert.deepEqual([ended("closed", "token_expired"), ended("closed", "unauthorized")], [true, true]);
    assert.deepEqual([ended("closed", "ended"), ended("closed", "forbidden"), ended("reconnecting", "network")], [false, false, false]);
  });
});

describe("requests", () => {
  const browserFetch = globalThis.fetch;
  let answers;
  let asked;

  beforeEach(async () => {
    answers = [answer(200, ALICE)];
    asked = [];
    globalThis.fetch = async (url, init) => {
      asked.push([url, init.headers?.["X-CSRF-Token"] ?? null]);
      const next = answers.shift();
      if (next instanceof Error) throw next;
      return next;
    };
    await access.load();
    asked.length = 0;
  });
  afterEach(() => {
    globalThis.fetch = browserFetch;
  });

  test("carry the CSRF token when they change something, and no token when they read", async () => {
    answers = [answer(200, {}), answer(200, {})];
    await post("/api/x", {});
    await get("/api/x");
    assert.deepEqual(asked, [["/api/x", "c-1"], ["/api/x", null]]);
  });

  test("are sent once more when another tab has logged in meanwhile", async () => {
    const stale = answer(403, { error: { code: "forbidden", message: "csrf", field: "X-CSRF-Token" } });
    answers = [stale, answer(200, { ...ALICE, csrf: "c-2" }), answer(201, { seq: 7 })];
    assert.deepEqual(await post("/api/x", {}), { seq: 7 });
    assert.deepEqual(asked, [["/api/x", "c-1"], ["/api/session", null], ["/api/x", "c-2"]]);
  });

  test("are not repeated for any other refusal, whose words they bring", async () => {
    answers = [answer(403, { error: { message: "not yours", field: "stream" } })];
    await assert.rejects(post("/api/x", {}), (error) => error instanceof RequestError && error.status === 403 && error.message === "not yours");
    assert.equal(asked.length, 1);
  });

  test("lead to the login when the server does not know us any more", async () => {
    answers = [answer(401, { error: { message: "a valid token is needed" } })];
    await assert.rejects(get("/api/x"), RequestError);
    assert.equal(access.state, "out");
  });

  test("without an answer have status 0", async () => {
    answers = [new TypeError("network")];
    await assert.rejects(get("/api/x"), (error) => error.status === 0);
  });
});
