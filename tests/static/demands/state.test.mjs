/** The promises of js/demands/state.js: nothing lost, nothing doubled, whatever order snapshots, history and live events come in. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { EMPTY, insert, isNew, merge, newSinceLastVisit, reduce } from "../../../server/static/js/demands/state.js";
import { event } from "../support/support.mjs";

const seqs = (events) => events.map(({ seq }) => seq);
const run = (state, ...actions) => actions.reduce(reduce, state);
const choose = (id) => ({ type: "choose", id });
const live = (seq, id = "d-1", type = "note", payload = {}) => ({
  type: "event",
  event: event(seq, `demand:${id}`, type, payload),
});
const history = (numbers, isComplete = true, id = "d-1") => ({
  type: "history",
  id,
  events: numbers.map((seq) => event(seq, `demand:${id}`)),
  isComplete,
});

function demand(id, last_seq, extra = {}) {
  return {
    demand_id: id,
    channel_id: "collab-1",
    status: "processing",
    phase: "understood",
    surface_demand: `demand ${id}`,
    user_id: "anonymous",
    created_at: "2026-01-01T00:00:00.000Z",
    updated_at: "2026-01-01T00:00:00.000Z",
    current_round: 1,
    last_seq,
    created_seq: last_seq,
    ...extra,
  };
}

function snapshot(demands, head_seq = 10, extra = {}) {
  return { type: "snapshot", page: { demands, has_more: false, head_seq, epoch: "e1", ...extra } };
}

describe("the timeline", () => {
  test("a live event that arrives during the fetch is neither lost nor doubled", () => {
    const { timeline } = run(EMPTY, choose("d-1"), history([1, 2], false), live(4), history([3, 4]), live(5));
    assert.deepEqual(seqs(timeline.events), [1, 2, 3, 4, 5]);
    assert.equal(timeline.history, "ready");
  });

  test("live events before the first page wait in their place", () => {
    const { timeline } = run(EMPTY, choose("d-1"), live(9), live(8), history([1, 8]));
    assert.deepEqual(seqs(timeline.events), [1, 8, 9]);
  });

  test("every interleaving of pages and live events gives the same timeline", () => {
    const pages = [history([1, 2], false), history([3, 4], false), history([5, 6])];
    const lives = [live(4), live(5), live(6), live(7)];
    for (let mask = 0; mask < 1 << 7; mask += 1) {
      const [left, right] = [[...pages], [...lives]];
      const actions = [];
      for (let bit = 0; bit < 7; bit += 1) actions.push(((mask >> bit) & 1 ? left.shift() : right.shift()) ?? left.shift() ?? right.shift());
      assert.deepEqual(seqs(run(EMPTY, choose("d-1"), ...actions).timeline.events), [1, 2, 3, 4, 5, 6, 7]);
    }
  });

  test("events and pages of another demand do not get in", () => {
    const { timeline } = run(EMPTY, choose("d-1"), live(3, "d-2"), history([1], true, "d-2"), live(4, "d-12"));
    assert.deepEqual(timeline.events, []);
    assert.equal(timeline.history, "loading");
  });

  test("choosing another demand begins empty, and choosing none shows none", () => {
    const state = run(EMPTY, choose("d-1"), history([1]), choose("d-2"));
    assert.deepEqual(state.timeline.events, []);
    assert.equal(reduce(state, choose(null)).timeline, null);
  });

  test("a failed fetch keeps what is there and says so; the next page clears it", () => {
    const failed = run(EMPTY, choose("d-1"), live(4), { type: "history_failed", id: "d-1", error: "no", isMissing: false });
    assert.equal(failed.timeline.history, "failed");
    assert.deepEqual(seqs(failed.timeline.events), [4]);
    assert.equal(reduce(failed, history([3])).timeline.error, "");
  });

  test("a demand that does not exist is missing, not failed", () => {
    const state = run(EMPTY, choose("d-1"), { type: "history_failed", id: "d-1", error: "", isMissing: true });
    assert.equal(state.timeline.history, "missing");
  });

  test("the failure of a demand that is no longer chosen changes nothing", () => {
    const state = run(EMPTY, choose("d-1"));
    assert.equal(reduce(state, { type: "history_failed", id: "d-2", error: "", isMissing: true }), state);
  });

  test("trimmed history is remembered over the pages", () => {
    const { timeline } = run(EMPTY, choose("d-1"), { ...history([5], false), trimmedBefore: 5 }, history([6]));
    assert.equal(timeline.trimmedBefore, 5);
  });
});

describe("the list", () => {
  test("a snapshot gives the list, newest first", () => {
    const state = run(EMPTY, snapshot([demand("d-2", 5), demand("d-1", 3)]));
    assert.equal(state.status, "ready");
    assert.deepEqual(state.order, ["d-2", "d-1"]);
    assert.equal(state.headSeq, 10);
  });

  test("a demand that someone else submits appears by its first event", () => {
    const payload = { surface_demand: "a venue", channel_id: "collab-9", user_id: "bob" };
    const state = run(EMPTY, snapshot([demand("d-1", 3)]), live(11, "d-9", "towow.demand.understood", payload));
    assert.deepEqual(state.order, ["d-9", "d-1"]);
    assert.equal(state.demands["d-9"].surface_demand, "a venue");
    assert.equal(state.demands["d-9"].user_id, "bob");
  });

  for (const [type, status, phase] of [
    ["towow.filter.completed", "processing", "filtered"],
    ["towow.proposal.finalized", "finalized", "finalized"],
    ["towow.negotiation.failed", "failed", "failed"],
    ["towow.negotiation.cancelled", "cancelled", "cancelled"],
    ["towow.proposal.distributed", "processing", "understood"],
    ["note", "processing", "understood"],
  ]) {
    test(`${type} makes a demand ${status} in phase ${phase}`, () => {
      const state = run(EMPTY, snapshot([demand("d-1", 3)]), live(11, "d-1", type));
      assert.equal(state.demands["d-1"].status, status);
      assert.equal(state.demands["d-1"].phase, phase);
      assert.equal(state.demands["d-1"].last_seq, 11);
    });
  }

  test("an event that the snapshot already holds does not move a demand back", () => {
    const failed = demand("d-1", 9, { status: "failed", phase: "failed" });
    const state = run(EMPTY, snapshot([failed]), live(8, "d-1", "towow.filter.completed"));
    assert.deepEqual(state.demands["d-1"], failed);
  });

  test("a page of older demands never replaces newer knowledge", () => {
    const page = { demands: [demand("d-1", 3), demand("d-0", 1)], has_more: false, head_seq: 12, epoch: "e1" };
    const state = run(EMPTY, snapshot([demand("d-1", 3)]), live(11, "d-1", "towow.negotiation.failed"), { type: "older", page });
    assert.equal(state.demands["d-1"].status, "failed");
    assert.deepEqual(state.order, ["d-1", "d-0"]);
    assert.equal(state.oldestSeq, 1);
  });

  test("an old demand that was chosen by its address does not hide those before it", () => {
    const state = run(EMPTY, choose("d-0"), { type: "demand", demand: demand("d-0", 1) }, snapshot([demand("d-9", 9)]));
    assert.deepEqual(state.order, ["d-9", "d-0"]);
    assert.equal(state.oldestSeq, 9);
  });

  test("a live negotiation goes through its phases, and the round is that of the proposal", () => {
    const steps = [
      ["towow.filter.completed", "filtered"],
      ["towow.demand.broadcast", "collecting_offers"],
      ["towow.offer.submitted", "collecting_offers"],
      ["towow.gap.identified", "filling_gaps", { round: 7 }],
      ["towow.subnet.triggered", "filling_gaps"],
      ["towow.proposal.distributed", "proposing", { round: 2 }],
      ["towow.proposal.feedback", "proposing", { round: 9 }],
      ["towow.proposal.distributed", "proposing", { round: "<b>" }],
    ];
    let state = run(EMPTY, snapshot([demand("d-1", 3)]));
    steps.forEach(([type, phase, payload], i) => {
      state = reduce(state, live(20 + i, "d-1", type, payload));
      assert.equal(state.demands["d-1"].phase, phase, type);
    });
    assert.equal(state.demands["d-1"].current_round, 2);
  });

  test("a sub-negotiation is known, but not listed", () => {
    const child = demand("d-1.1", 5, { parent_demand_id: "d-1" });
    const state = run(EMPTY, snapshot([demand("d-1", 3)]), { type: "demand", demand: child });
    assert.deepEqual(state.order, ["d-1"]);
    assert.equal(state.demands["d-1.1"].last_seq, 5);
    const born = reduce(state, live(11, "d-1.2", "towow.demand.understood", { surface_demand: "x", parent_demand_id: "d-1" }));
    assert.deepEqual(born.order, ["d-1"]);
    assert.equal(born.demands["d-1.2"].parent_demand_id, "d-1");
  });

  test("those that a chosen sub-negotiation belongs to outlive the snapshot", () => {
    const chain = [demand("d-1.1.1", 5, { parent_demand_id: "d-1.1" }), demand("d-1.1", 4, { parent_demand_id: "d-1" }), demand("d-1", 3), demand("d-2", 2)];
    const known = run(EMPTY, choose("d-1.1.1"), ...chain.map((each) => ({ type: "demand", demand: each })));
    assert.deepEqual(Object.keys(reduce(known, snapshot([])).demands).sort(), ["d-1", "d-1.1", "d-1.1.1"]);
  });

  test("events of other kinds of streams change nothing", () => {
    const state = run(EMPTY, snapshot([]));
    assert.equal(reduce(state, { type: "event", event: event(11, "session:alice") }), state);
  });

  test("a failed snapshot is a state of its own, and the next one clears it", () => {
    const failed = reduce(EMPTY, { type: "snapshot_failed", error: "no" });
    assert.equal(failed.status, "failed");
    assert.equal(reduce(failed, snapshot([])).status, "ready");
    assert.equal(reduce(failed, snapshot([])).error, "");
  });
});

describe("branches", () => {
  const branch = (id) => ({ type: "branch", id });

  test("a branch takes its own pages and live events, in any order, each once", () => {
    const state = run(EMPTY, choose("d-1"), branch("d-1.1"), live(9, "d-1.1"), history([3, 9], false, "d-1.1"), history([10], true, "d-1.1"), live(4));
    assert.deepEqual(seqs(state.branches["d-1.1"].events), [3, 9, 10]);
    assert.equal(state.branches["d-1.1"].history, "ready");
    assert.deepEqual(seqs(state.timeline.events), [4]);
  });

  test("a failed branch says so, and the chosen history does not", () => {
    const failed = { type: "history_failed", id: "d-1.1", error: "no", isMissing: false };
    const state = run(EMPTY, choose("d-1"), branch("d-1.1"), failed);
    assert.equal(state.branches["d-1.1"].error, "no");
    assert.equal(state.timeline.history, "loading");
  });

  test("opening one twice changes nothing, nor does opening the chosen one, nor any without a choice", () => {
    const state = run(EMPTY, choose("d-1"), branch("d-1.1"));
    assert.equal(reduce(state, branch("d-1.1")), state);
    assert.equal(reduce(state, branch("d-1")), state);
    assert.equal(reduce(EMPTY, branch("d-1")), EMPTY);
  });

  test("choosing a branch begins with what is known of it, and closes the others", () => {
    const state = run(EMPTY, choose("d-1"), branch("d-1.1"), branch("d-1.2"), history([3], true, "d-1.1"), choose("d-1.1"));
    assert.deepEqual(seqs(state.timeline.events), [3]);
    assert.deepEqual(state.branches, {});
  });

  test("a reset closes them", () => {
    const state = run(EMPTY, choose("d-1"), branch("d-1.1"), { ...snapshot([]), isReset: true });
    assert.deepEqual(state.branches, {});
  });
});

describe("the replay", () => {
  const replay = (seq) => ({ type: "replay", seq });

  test("new events do not move the position; another choice and a reset return to the newest", () => {
    const state = run(EMPTY, choose("d-1"), history([1, 2, 3]), replay(2), live(4));
    assert.equal(state.replaySeq, 2);
    assert.deepEqual(seqs(state.timeline.events), [1, 2, 3, 4]);
    assert.equal(reduce(state, choose("d-2")).replaySeq, null);
    assert.equal(reduce(state, { ...snapshot([]), isReset: true }).replaySeq, null);
    assert.equal(reduce(state, snapshot([])).replaySeq, 2);
    assert.equal(reduce(state, replay(null)).replaySeq, null);
    assert.equal(reduce(state, replay(2)), state);
  });
});

describe("resets", () => {
  test("another epoch forgets everything but the choice", () => {
    const before = run(EMPTY, choose("d-1"), snapshot([demand("d-1", 3)], 90), history([1, 2, 90]));
    const after = reduce(before, snapshot([demand("d-7", 1)], 1, { epoch: "e2" }));
    assert.deepEqual(after.order, ["d-7"]);
    assert.equal(after.headSeq, 1);
    assert.equal(after.timeline.id, "d-1");
    assert.deepEqual(after.timeline.events, []);
    assert.equal(after.timeline.history, "loading");
  });

  test("a reset within an epoch, such as a restored older file, forgets as well", () => {
    const before = run(EMPTY, choose("d-1"), snapshot([demand("d-1", 3)], 90), history([1, 90]));
    const after = reduce(before, { ...snapshot([], 5), isReset: true });
    assert.deepEqual(after.timeline.events, []);
    assert.equal(after.headSeq, 5);
  });

  test("the first snapshot keeps the history that was faster", () => {
    const { timeline } = run(EMPTY, choose("d-1"), history([1, 2]), snapshot([demand("d-1", 2)]));
    assert.deepEqual(seqs(timeline.events), [1, 2]);
    assert.equal(timeline.history, "ready");
  });
});

describe("the last visit", () => {
  const since = (seq, epoch = "e1") => ({ ...snapshot([demand("d-2", 9), demand("d-1", 3)]), lastVisit: { epoch, id: `${seq}.123456` } });

  test("what happened after it is new", () => {
    const state = run(EMPTY, since(5));
    assert.equal(newSinceLastVisit(state), 1);
    assert.equal(isNew(state, 5), false);
    assert.equal(isNew(state, 6), true);
  });

  test("what was looked at is no longer news, but still divided off in its timeline", () => {
    const state = run(EMPTY, since(5), choose("d-2"));
    assert.equal(newSinceLastVisit(state), 0);
    assert.equal(isNew(state, 9), true);
  });

  test("the first visit, and one to another log, know nothing new", () => {
    assert.equal(newSinceLastVisit(run(EMPTY, snapshot([demand("d-2", 9)]))), 0);
    assert.equal(newSinceLastVisit(run(EMPTY, since(1, "e0"))), 0);
  });
});

describe("merging", () => {
  test("insert keeps the order and returns the same array for a duplicate", () => {
    const events = [1, 3, 5].map((seq) => event(seq));
    assert.deepEqual(seqs(insert(events, event(4))), [1, 3, 4, 5]);
    assert.deepEqual(seqs(insert(events, event(0))), [0, 1, 3, 5]);
    assert.deepEqual(seqs(insert(events, event(9))), [1, 3, 5, 9]);
    for (const seq of [1, 3, 5]) assert.equal(insert(events, event(seq)), events);
    assert.deepEqual(seqs(insert([], event(1))), [1]);
  });

  test("merge takes each event once", () => {
    const list = (...numbers) => numbers.map((seq) => event(seq));
    assert.deepEqual(seqs(merge(list(1, 2, 5), list(2, 3, 5, 6))), [1, 2, 3, 5, 6]);
    assert.deepEqual(seqs(merge([], list(1))), [1]);
    assert.deepEqual(seqs(merge(list(1, 1), [])), [1]);
  });

  test("actions never change the state they are given", () => {
    const state = run(EMPTY, choose("d-1"), snapshot([demand("d-1", 3)]), history([1, 2]));
    const before = JSON.stringify(state);
    run(state, live(11), live(12, "d-2", "towow.demand.understood"), history([5]), choose(null), snapshot([], 1, { epoch: "e2" }));
    assert.equal(JSON.stringify(state), before);
  });
});
