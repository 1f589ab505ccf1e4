/**
 * The promises of js/demands/story.js and sentence.js: sub-negotiations nested by their own events, positions over all of them,
 * and a line of words for each.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as demands from "../../../server/static/js/demands/strings.js";
import { Translator } from "../../../server/static/js/ui/i18n.js";
import { CHANGES } from "../../../server/static/js/demands/negotiation-events.js";
import { sentenceOf } from "../../../server/static/js/demands/sentence.js";
import { EMPTY, reduce } from "../../../server/static/js/demands/state.js";
import { chronicler, indexAt, MAX_BRANCHES, storyteller, unreadBranches } from "../../../server/static/js/demands/story.js";
import { offered, proposal, Stream, understood } from "../support/histories.mjs";

const run = (state, ...actions) => actions.reduce(reduce, state);
const choose = (id) => ({ type: "choose", id });
const read = (stream) => ({ type: "history", id: stream.id, events: stream.events, isComplete: true });
const branch = (id) => ({ type: "branch", id });

/** A demand with a sub-negotiation that has one of its own; seqs interleave. */
function family() {
  const root = offered().add("gap.identified", { capability: "x", round: 1 }).add("subnet.triggered", { subnet_id: "d-1.1", capability: "x" });
  const child = new Stream("d-1.1", 9).add("demand.understood", { ...understood, parent_demand_id: "d-1" }).add("filter.completed", { candidates: [{ agent_id: "dee" }] });
  child.add("demand.broadcast", { agent_ids: ["dee"] }).add("offer.submitted", { agent_id: "dee", offer: {} }).add("gap.identified", { capability: "y" }).add("subnet.triggered", { subnet_id: "d-1.1.1", capability: "y" });
  const grandchild = new Stream("d-1.1.1", 15).add("demand.understood", { ...understood, parent_demand_id: "d-1.1" });
  return { root, child, grandchild };
}

describe("the story", () => {
  test("sub-negotiations are nested as far as their histories are known", () => {
    const { root, child, grandchild } = family();
    const tell = storyteller();
    let state = run(EMPTY, choose("d-1"), read(root));
    assert.deepEqual(tell(state).subnets, {});
    assert.deepEqual(unreadBranches(state, tell(state)), ["d-1.1"]);
    state = run(state, branch("d-1.1"), read(child));
    assert.deepEqual(unreadBranches(state, tell(state)), ["d-1.1.1"]);
    state = run(state, branch("d-1.1.1"), read(grandchild));
    const story = tell(state);
    assert.deepEqual(unreadBranches(state, story), []);
    assert.equal(story.subnets["d-1.1"].subnets["d-1.1.1"].negotiation.phase, "understood");
  });

  test("a position is one for all of them", () => {
    const { root, child, grandchild } = family();
    const state = run(EMPTY, choose("d-1"), read(root), branch("d-1.1"), read(child), branch("d-1.1.1"), read(grandchild));
    const tell = storyteller();
    assert.deepEqual(tell(state, 7).subnets, {});
    assert.equal(tell(state, 8).subnets["d-1.1"].negotiation.phase, "new");
    assert.equal(tell(state, 11).subnets["d-1.1"].negotiation.phase, "collecting_offers");
    assert.deepEqual(tell(state, 13).subnets["d-1.1"].subnets, {});
    assert.equal(tell(state, 14).subnets["d-1.1"].subnets["d-1.1.1"].negotiation.eventCount, 0);
  });

  test("without a choice there is none, and an unchanged history is folded once", () => {
    const tell = storyteller();
    assert.equal(tell(EMPTY), null);
    const state = run(EMPTY, choose("d-1"), read(offered()));
    assert.equal(tell(state).negotiation, tell({ ...state }).negotiation);
    assert.notEqual(tell(state, 2).negotiation, tell(state).negotiation);
  });

  test("ids that cannot be a stream's name are never asked for, and a flood of them is cut", () => {
    const root = offered().add("gap.identified", { capability: "x" });
    for (const id of ["d-1.<b>", "d-1. ", `d-1.${"x".repeat(200)}`, "d-1.ok"]) root.add("subnet.triggered", { subnet_id: id, capability: "x" });
    const tell = storyteller();
    let state = run(EMPTY, choose("d-1"), read(root));
    assert.deepEqual(unreadBranches(state, tell(state)), ["d-1.ok"]);
    for (let n = 0; n < 200; n += 1) root.add("subnet.triggered", { subnet_id: `d-1.${n}`, capability: "x" });
    state = run(EMPTY, choose("d-1"), read(root));
    assert.equal(unreadBranches(state, tell(state)).length, MAX_BRANCHES);
    for (const id of unreadBranches(state, tell(state))) state = reduce(state, branch(id));
    assert.deepEqual(unreadBranches(state, tell(state)), []);
  });
});

describe("positions", () => {
  test("all events are in one order, and the list is the same while nothing is added", () => {
    const { root, child } = family();
    const state = run(EMPTY, choose("d-1"), read(root), branch("d-1.1"), read(child));
    const chronicle = chronicler();
    const positions = chronicle(state);
    assert.deepEqual(positions.map(({ seq }) => seq), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    assert.equal(chronicle({ ...state, replaySeq: 3 }), positions);
    assert.notEqual(chronicle(reduce(state, { type: "event", event: { ...positions[0], seq: 99 } })), positions);
    assert.deepEqual(chronicle(EMPTY), []);
  });

  test("a seq is found where it is, or at the event before it", () => {
    const positions = [2, 4, 8].map((seq) => ({ seq }));
    assert.deepEqual([0, 1, 2, 3, 4, 7, 8, 9].map((seq) => indexAt(positions, seq)), [-1, -1, 0, 0, 1, 1, 2, 2]);
    assert.equal(indexAt([], 1), -1);
  });
});

describe("sentences", () => {
  const en = new Translator("en", demands);
  const say = (type, payload, nameOf) => sentenceOf({ event_type: `towow.${type}`, payload }, en, nameOf);

  for (const [type, payload, expected] of [
    ["demand.understood", {}, "Demand understood"],
    ["filter.completed", { candidates: [{}, {}] }, "2 agents can help"],
    ["demand.broadcast", { agent_ids: ["a"] }, "1 agent is invited"],
    ["offer.submitted", { agent_id: "bob", offer: { terms: { price: 3, currency: "EUR" } } }, "Bobby offers for €3"],
    ["offer.submitted", { agent_id: "eve", name: "Eve", offer: {} }, "Eve makes an offer"],
    ["offer.declined", { agent_id: "bob" }, "Bobby declines"],
    ["gap.identified", { capability: "sound_and_light" }, "Nobody covers sound and light"],
    ["subnet.triggered", { capability: "x" }, "Sub-negotiation for x begins"],
    ["subnet.completed", { capability: "x", outcome: "timed_out" }, "Sub-negotiation for x: Timed out"],
    ["subnet.completed", { capability: "x", outcome: "finalized" }, "Sub-negotiation for x: Agreed"],
    ["proposal.distributed", proposal(2, ["bob", "ann"]), "Proposal of round 2 with 2 agents for €90"],
    ["proposal.distributed", proposal(1, ["bob"], { total_price: null }), "Proposal of round 1 with 1 agent"],
    ["proposal.feedback", { agent_id: "bob", decision: "revise" }, "Bobby asks for changes"],
    ["proposal.feedback", { user_id: "x", decision: "accept" }, "The user accepts"],
    ["proposal.feedback", { user_id: "x", decision: "maybe" }, "Feedback on the proposal"],
    ["proposal.finalized", { proposal: proposal(1, ["bob"]) }, "Agreed with 1 agent for €90"],
    ["negotiation.failed", { reason: "no_offers" }, "No agreement: Nobody made an offer."],
    ["negotiation.failed", { reason: "other", message: "because" }, "No agreement: because"],
    ["negotiation.cancelled", {}, "Negotiation cancelled"],
    ["other", {}, "towow.other"],
  ]) {
    test(`${type} ${JSON.stringify(payload).slice(0, 60)} is "${expected}"`, () => {
      assert.equal(say(type, payload, (id) => (id === "bob" ? "Bobby" : id)), expected);
    });
  }

  test("any payload has a sentence of bounded length in both languages", () => {
    for (const language of ["en", "zh"]) {
      for (const event_type of [...Object.keys(CHANGES), "toString", "__proto__", "note"]) {
        for (const value of [null, 3, "x", [], {}, "long ".repeat(5000)]) {
          const payload = { agent_id: value, name: value, offer: value, capability: value, decision: value, reason: value, message: value, proposal: value, assignments: value };
          for (const each of [payload, value]) {
            const sentence = sentenceOf({ event_type, payload: each }, new Translator(language, demands));
            assert.ok(sentence.length > 0 && sentence.length < 400, `${event_type}: ${sentence}`);
          }
        }
      }
    }
  });
});
