/**
 * The promises of the page of the tasks that need no browser: what a task is after its events, its log, how long events take,
 * the sample, and sending it through failures.
 */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { RequestError } from "../../../server/static/js/lib/http.js";
import { Delays } from "../../../server/static/js/tasks/delays.js";
import { Emitter } from "../../../server/static/js/tasks/emitter.js";
import { TaskLog } from "../../../server/static/js/tasks/log.js";
import { TaskRecord } from "../../../server/static/js/tasks/record.js";
import { burst, sampleTask } from "../../../server/static/js/tasks/sample.js";
import { keptRun, Sampling } from "../../../server/static/js/tasks/sampling.js";
import { foldTask, isOver, NEW_TASK, orderedItems, TASK_ID, taskEventOf } from "../../../server/static/js/tasks/state.js";
import { tasksWith } from "../../../server/static/js/tasks/views/list.js";
import { FakeStorage, settle } from "../support/support.mjs";

let seq;
beforeEach(() => {
  seq = 0;
});
const at = (event_type, { phase = null, span_id = null, ...payload } = {}) => {
  seq += 1;
  return taskEventOf({ seq: seq * 3, revision: seq, event_id: `id-${seq}`, event_type, task_id: "t", phase, span_id, payload, timestamp: new Date(seq * 1000).toISOString(), source: "test" });
};
const folded = (...events) => foldTask(NEW_TASK, events);
const item = (task, spanId) => task.items.get(spanId);

describe("a task", () => {
  test("runs from its first event on, whatever that is", () => {
    const task = folded(at("anything", { n: 1 }));
    assert.deepEqual([task.status, task.events, task.lastSeq, task.progress], ["running", 1, 3, 0]);
    assert.equal(task.createdAt, "1970-01-01T00:00:01.000Z");
    assert.equal(isOver(task), false);
  });

  for (const [type, status, progress] of [
    ["task_complete", "completed", 100],
    ["task_failed", "failed", 40],
    ["task_cancelled", "cancelled", 40],
  ]) {
    test(`is ${status} after ${type}, and nothing but its position changes any more`, () => {
      const task = folded(at("progress_update", { progress: 40 }), at(type), at("task_failed"), at("progress_update", { progress: 7 }), at("work_item_start", { span_id: "a" }), at("phase_enter", { phase: "late" }));
      assert.deepEqual([task.status, task.progress, task.items.size, task.phase, task.events], [status, progress, 0, "", 6]);
      assert.equal(isOver(task), true);
    });
  }

  test("goes through phases, each told once as long as it lasts", () => {
    const task = folded(at("phase_enter", { phase: "plan" }), at("phase_enter", { phase: "plan" }), at("phase_enter", { phase: "do" }), at("phase_enter"), at("note", { phase: "elsewhere" }));
    assert.deepEqual([task.phase, task.phases], ["do", ["plan", "do"]]);
  });

  test("has the progress that was said last, if it is one", () => {
    for (const progress of ["50", null, true, -1, 101, Number.NaN, {}, []]) {
      assert.equal(folded(at("progress_update", { progress: 12.5 }), at("progress_update", { progress })).progress, 12.5);
    }
    for (const progress of [0, 100, 33]) assert.equal(folded(at("progress_update", { progress })).progress, progress);
  });

  test("takes each event once, however often it comes", () => {
    const events = [at("work_item_start", { span_id: "a" }), at("work_item_complete", { span_id: "a" })];
    const task = foldTask(folded(...events), events);
    assert.deepEqual([task.counts.completed, task.counts.running, item(task, "a").status], [1, 0, "completed"]);
  });

  test("is the same one by one and all at once, and the earlier states stay as they were", () => {
    const events = [at("work_item_start", { span_id: "a", name: "A" }), at("phase_enter", { phase: "p" }), at("work_item_failed", { span_id: "a" }), at("work_item_start", { span_id: "b" }), at("task_complete")];
    const states = events.reduce((all, event) => [...all, foldTask(all.at(-1), [event])], [NEW_TASK]);
    assert.deepEqual(states.at(-1), folded(...events));
    assert.equal(NEW_TASK.items.size, 0);
    assert.deepEqual([item(states[1], "a").status, states[1].counts.running], ["running", 1]);
  });
});

describe("a work item", () => {
  test("starts, fails, starts again and is done; the time of its newest start counts", () => {
    const task = folded(at("work_item_start", { span_id: "a", name: "Fetch" }), at("work_item_failed", { span_id: "a", error: "no" }), at("work_item_start", { span_id: "a" }), at("work_item_complete", { span_id: "a" }));
    const { status, name, startedAt, endedAt } = item(task, "a");
    assert.deepEqual([status, name, Date.parse(startedAt), Date.parse(endedAt)], ["completed", "Fetch", 3000, 4000]);
    assert.deepEqual(task.counts, { running: 0, completed: 1, failed: 0 });
  });

  test("may be told by its end alone", () => {
    const { startedAt, endedAt } = item(folded(at("work_item_failed", { span_id: "a" })), "a");
    assert.deepEqual([startedAt, Date.parse(endedAt)], ["", 1000]);
  });

  test("is read under the other names of its events, too", () => {
    const task = folded(at("work_item_started", { span_id: "a" }), at("work_item_started", { span_id: "b" }), at("work_item_completed", { span_id: "a" }));
    assert.deepEqual([item(task, "a").status, item(task, "b").status], ["completed", "running"]);
  });

  test("has a name that is trimmed and not too long, else its title, else the one before", () => {
    const named = (payload) => item(folded(at("work_item_start", { span_id: "a", ...payload })), "a").name;
    assert.deepEqual([named({ name: " A " }), named({ title: "T" }), named({ name: "  ", title: "T" }), named({ name: 7 })], ["A", "T", "T", ""]);
    assert.equal([...named({ name: "😀".repeat(300) })].length, 200);
    assert.equal(item(folded(at("work_item_start", { span_id: "a", name: "A" }), at("work_item_complete", { span_id: "a" })), "a").name, "A");
  });

  test("is shown while it runs, then when it failed, then when it is done; the newest first", () => {
    const task = folded(...["done-1", "done-2", "bad", "runs-1", "runs-2"].map((span_id) => at("work_item_start", { span_id })), at("work_item_complete", { span_id: "done-1" }), at("work_item_complete", { span_id: "done-2" }), at("work_item_failed", { span_id: "bad" }));
    assert.deepEqual(orderedItems(task).map(({ spanId }) => spanId), ["runs-2", "runs-1", "bad", "done-2", "done-1"]);
  });
});

test("garbage moves nothing but the position", () => {
  for (const type of ["phase_enter", "work_item_start", "work_item_complete", "progress_update", "toString", "__proto__", ""]) {
    for (const payload of [null, [], "text", 7, { progress: {}, name: [], phase: 3 }]) {
      for (const name of [null, 7, "two words", {}, "x".repeat(129)]) {
        const task = folded(taskEventOf({ event_type: type, phase: name, span_id: name, payload, seq: 5, revision: 2, timestamp: 3 }));
        assert.deepEqual([task.status, task.phase, task.items.size, task.progress, task.lastSeq, task.events], ["running", "", 0, 0, 5, 2]);
      }
    }
  }
  assert.deepEqual(folded(taskEventOf({})), NEW_TASK);
});

test("the id of a task is one that a path and a stream can have", () => {
  for (const id of ["a", "task-1", "A.b_c-9", "...", "x".repeat(120)]) assert.match(id, TASK_ID);
  for (const id of ["", ".", "..", "a b", "a:b", "a/b", "x".repeat(121), "é"]) assert.doesNotMatch(id, TASK_ID);
});

test("ten thousand events with thousands of work items are folded at once without waiting for it", () => {
  const events = Array.from({ length: 10_000 }, (_, i) => at(i % 2 ? "work_item_complete" : "work_item_start", { span_id: `s-${i >> 1}` }));
  const task = folded(...events);
  assert.deepEqual(task.counts, { running: 0, completed: 5000, failed: 0 });
});

describe("the log", () => {
  test("holds events and remarks in the order in which they came", () => {
    const log = new TaskLog();
    log.add(at("note"));
    log.say("remark.gap", { n: 1 });
    log.add(at("note"));
    assert.deepEqual(log.entries.map(({ id, event, remark }) => [id, event?.revision ?? null, remark]), [[1, 1, ""], [2, null, "remark.gap"], [3, 2, ""]]);
    assert.equal(log.events, 2);
  });

  test("lets the oldest go, and still knows how many there were", () => {
    const log = new TaskLog(100, 10);
    for (let i = 0; i < 1000; i += 1) log.add(at("note"));
    assert.ok(log.entries.length >= 100 && log.entries.length <= 110);
    assert.deepEqual([log.entries.at(-1).event.revision, log.entries.at(-1).id, log.events], [1000, 1000, 1000]);
  });
});

describe("the record", () => {
  test("has the state after all events, however seldom somebody looks, and begins anew when told", () => {
    const record = new TaskRecord();
    const events = [at("progress_update", { progress: 10 }), at("progress_update", { progress: 20 })];
    for (const event of events) record.add(event);
    assert.deepEqual([record.task.progress, record.log.events], [20, 2]);
    assert.equal(record.task, record.task);
    record.add(at("progress_update", { progress: 30 }));
    record.clear();
    assert.deepEqual([record.task, record.log.events], [NEW_TASK, 0]);
  });

  test("tells who waits for an event when it comes", async () => {
    const record = new TaskRecord();
    const arrival = record.arrival("id-2");
    record.add(at("note"));
    record.clear();
    record.add(at("note"));
    await arrival;
  });
});

describe("delays", () => {
  test("are counted from sending to hearing, each event once", () => {
    const delays = new Delays();
    assert.equal(delays.summary, null);
    delays.sent("a", 100);
    delays.sent("b", 100);
    delays.received("b", 110);
    delays.received("a", 130);
    delays.received("a", 999);
    delays.received("other", 999);
    assert.deepEqual(delays.summary, { count: 2, median: 30, slowest: 30 });
  });

  test("do not count what was on its way during an interruption, nor are kept for ever", () => {
    const delays = new Delays();
    delays.sent("a", 0);
    delays.interrupted();
    delays.received("a", 9000);
    assert.equal(delays.summary, null);
    for (let i = 0; i < 2000; i += 1) {
      delays.sent(`e-${i}`, 0);
      delays.received(`e-${i}`, i);
    }
    assert.deepEqual(delays.summary, { count: 500, median: 1750, slowest: 1999 });
  });
});

describe("the sample", () => {
  for (const language of ["en", "zh"]) {
    test(`is a whole task in ${language}: in order, within its time, with a failure that is repaired`, () => {
      const said = sampleTask(20_000, language);
      const times = said.map((each) => each.at);
      assert.deepEqual(times, [...times].sort((one, two) => one - two));
      assert.deepEqual([times[0], times.at(-1)], [0, 20_000]);
      const task = folded(...said.map(({ event_type, phase, span_id, payload }) => at(event_type, { phase, span_id, ...payload })));
      assert.deepEqual([task.status, task.progress, task.phases], ["completed", 100, ["planning", "executing", "verifying"]]);
      assert.deepEqual(task.counts, { running: 0, completed: 9, failed: 0 });
      assert.equal(said.filter(({ event_type }) => event_type === "work_item_failed").length, 1);
      const names = [...task.items.values()].map(({ name }) => name).join("");
      assert.equal(/\p{Script=Han}/u.test(names), language === "zh");
    });
  }

  test("a burst numbers its lines", () => {
    assert.deepEqual(burst(3, 8).map(({ payload }) => payload.n), [8, 9, 10]);
  });
});

describe("the emitter", () => {
  const three = [0, 0, 0].map((when, n) => ({ at: when, event_type: "note", event_id: `e-${n}`, payload: { n } }));

  test("sends one event after another and says how far it is", async () => {
    const sent = [];
    const seen = [];
    const emitter = new Emitter(async (event) => sent.push(event.payload.n), () => seen.push(emitter.state.sent));
    await emitter.run(three);
    assert.deepEqual(sent, [0, 1, 2]);
    assert.deepEqual([...new Set(seen)], [0, 1, 2, 3]);
    assert.deepEqual(emitter.state, { isRunning: false, sent: 3, total: 3, isStuck: false });
  });

  test("goes on where an earlier run broke off, with what is late at once", async () => {
    const sent = [];
    const emitter = new Emitter(async (event) => sent.push(event.event_id), () => {});
    await emitter.run(three.map((each) => ({ ...each, at: 60_000 })), { sent: 1, elapsedMs: 60_000 });
    assert.deepEqual(sent, ["e-1", "e-2"]);
    assert.deepEqual([emitter.state.sent, emitter.state.total], [3, 3]);
  });

  test("sends an event again under the same id until it is stored", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const tried = [];
    const failures = [0, 503, 429];
    const emitter = new Emitter(
      async ({ event_id }) => {
        tried.push(event_id);
        if (failures.length) throw new RequestError("", failures.shift());
      },
      () => {},
    );
    const run = emitter.run(three.slice(0, 1));
    for (let i = 0; i < 3; i += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(emitter.state.isStuck, true);
      t.mock.timers.tick(2000);
    }
    await run;
    assert.equal(tried.length, 4);
    assert.equal(new Set(tried).size, 1);
    assert.deepEqual(emitter.state, { isRunning: false, sent: 1, total: 1, isStuck: false });
  });

  test("ends when the server refuses an event", async () => {
    const emitter = new Emitter(async () => Promise.reject(new RequestError("no", 409)), () => {});
    await assert.rejects(emitter.run(three), { status: 409 });
    assert.deepEqual(emitter.state, { isRunning: false, sent: 0, total: 3, isStuck: false });
  });

  test("sends nothing after it was stopped", async () => {
    const sent = [];
    const emitter = new Emitter(async (event) => void sent.push(event.payload.n), () => {});
    const run = emitter.run([three[0], { ...three[1], at: 60_000 }]);
    await new Promise((resolve) => setImmediate(resolve));
    emitter.stop();
    await run;
    assert.deepEqual(sent, [0]);
    assert.equal(emitter.state.isRunning, false);
  });
});

describe("sampling", () => {
  const samplingWith = (storage, stored, began = []) =>
    new Sampling({ storage, post: async (taskId, event) => stored.push([taskId, event.event_id]), onBegin: (taskId) => began.push(taskId), onChange: () => {} });

  test("goes on after a reload with the next event, under the names that the events had", async () => {
    const storage = new FakeStorage();
    const stored = [];
    const began = [];
    const first = samplingWith(storage, stored, began);
    first.start("en");
    await settle();
    assert.deepEqual([stored, began], [[[first.taskId, `${first.taskId}-0`]], [first.taskId]]);
    const kept = storage.getItem("towow.sample");
    first.stop();
    assert.equal(storage.getItem("towow.sample"), "");
    storage.setItem("towow.sample", JSON.stringify({ ...JSON.parse(kept), beganAt: 0 }));
    const second = samplingWith(storage, stored, began);
    second.goOn();
    while (second.state.isRunning) await settle();
    assert.deepEqual(stored.map(([, id]) => id), Array.from({ length: second.state.total }, (_, n) => `${first.taskId}-${n}`));
    assert.equal(new Set(stored.map(([taskId]) => taskId)).size, 1);
    await settle();
    assert.equal(storage.getItem("towow.sample"), "");
    assert.deepEqual(began, [first.taskId]);
  });

  test("says what the server refused", async () => {
    const sampling = new Sampling({ storage: null, post: async () => Promise.reject(new RequestError("no", 403)), onBegin: assert.fail, onChange: () => {} });
    sampling.start("zh");
    await settle();
    assert.equal(sampling.error.status, 403);
    assert.equal(sampling.state.isRunning, false);
  });

  test("does not go on with what is no sample", () => {
    for (const kept of ["", "null", "{", "[]", "7", '{"taskId":"a b","language":"en","beganAt":1,"sent":1}', '{"taskId":"a","language":"fr","beganAt":1,"sent":1}', '{"taskId":"a","language":"en","beganAt":null,"sent":1}', '{"taskId":"a","language":"en","beganAt":1,"sent":0}']) {
      assert.equal(keptRun(kept), null, kept);
    }
    const run = { taskId: "a", language: "zh", beganAt: 1, sent: 3 };
    assert.deepEqual(keptRun(JSON.stringify({ ...run, other: 1 })), run);
  });
});

test("the list shows the watched task as it is now, unless the server knows more", () => {
  const list = [{ task_id: "a", status: "running", progress: 1, events: 5 }, { task_id: "b", status: "running", progress: 2, events: 2 }];
  const shown = (events) => tasksWith({ list }, "a", { ...NEW_TASK, status: "failed", progress: 9, events }).list.map(({ status, progress }) => [status, progress]);
  assert.deepEqual(shown(6), [["failed", 9], ["running", 2]]);
  assert.deepEqual(shown(4), [["running", 1], ["running", 2]]);
});
