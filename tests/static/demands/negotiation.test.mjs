/** The promises of js/demands/negotiation.js: the server's rules, at any position, on whatever anybody appended. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { fold } from "../../../server/static/js/demands/negotiation.js";
import { CHANGES } from "../../../server/static/js/demands/negotiation-events.js";
import { phaseAfter, statusOf, TRANSITIONS } from "../../../server/static/js/demands/phases.js";
import { assignment, candidates, offered, proposal, proposed, Stream, understood } from "../support/histories.mjs";

const folded = (stream, seq) => fold(stream.id, stream.events, seq);
const feedback = (agent_id, decision, extra = {}) => ({ agent_id, proposal_id: "d-1-p1", round: 1, decision, ...extra });
const fates = (negotiation) => Object.fromEntries(negotiation.candidates.map(({ id, fate }) => [id, fate]));

describe("phases", () => {
  const types = [...Object.keys(CHANGES), "note", "toString", "__proto__"];

  for (const phase of [...Object.keys(TRANSITIONS), "no such phase", "__proto__"]) {
    test(`in ${phase} only what its row names moves on`, () => {
      for (const type of types) {
        const next = phaseAfter(phase, type);
        assert.equal(next, Object.hasOwn(TRANSITIONS, phase) ? Object.entries(TRANSITIONS[phase]).find(([name]) => name === type)?.[1] : undefined);
        if (next) assert.ok(Object.hasOwn(TRANSITIONS, next), next);
      }
    });
  }

  test("every event type has a change, and the ends have a status of their own", () => {
    const used = new Set(Object.values(TRANSITIONS).flatMap((row) => Object.keys(row)));
    assert.deepEqual([...used].sort(), Object.keys(CHANGES).sort());
    assert.deepEqual(["finalized", "failed", "cancelled", "proposing", "new", ""].map(statusOf), ["finalized", "failed", "cancelled", "processing", "processing", "processing"]);
  });
});

describe("a negotiation step by step", () => {
  test("nothing is asked on an empty stream, and notes only move the position", () => {
    assert.equal(fold("d-1", []).phase, "new");
    const noted = folded(new Stream().add("!note", { n: 1 }).add("offer.submitted", { agent_id: "bob" }));
    assert.deepEqual([noted.phase, noted.seq, noted.eventCount, noted.wanted, noted.offers], ["new", 2, 2, null, []]);
  });

  test("the demand is what was understood, the first time", () => {
    const stream = new Stream().add("demand.understood", { ...understood, confirm: true, written_by: "llm", requirements: { people: 4, budget: 50, currency: "EUR", date: "2026-01-02" } });
    stream.add("demand.understood", { surface_demand: "something else" });
    const { wanted, phase } = folded(stream);
    assert.equal(phase, "understood");
    assert.deepEqual([wanted.surface, wanted.user, wanted.confirm, wanted.writtenBy], ["a venue", "maria", true, "llm"]);
    assert.deepEqual(wanted.requirements, { people: 4, budget: 50, currency: "EUR", date: "2026-01-02" });
  });

  test("candidates are found, invited, and then answer or are silent", () => {
    const stream = offered();
    assert.equal(folded(stream, 1).candidates, null);
    assert.deepEqual(fates(folded(stream, 2)), { bob: "found", ann: "found", cy: "found" });
    assert.deepEqual(fates(folded(stream, 3)), { bob: "invited", ann: "invited", cy: "invited" });
    assert.deepEqual(fates(folded(stream, 5)), { bob: "offered", ann: "offered", cy: "invited" });
    assert.deepEqual(fates(folded(stream)), { bob: "offered", ann: "offered", cy: "declined" });
    stream.events = stream.events.filter(({ payload }) => payload.agent_id !== "cy");
    stream.add("proposal.distributed", proposal(1, ["bob"]));
    assert.deepEqual(fates(folded(stream)), { bob: "proposed", ann: "offered", cy: "silent" });
  });

  test("who is awaited, and until when, follows the phase", () => {
    const stream = offered("d-1", { confirm: true });
    const collecting = folded(stream, 4);
    assert.deepEqual(collecting.awaited, ["ann", "cy"]);
    assert.equal(collecting.deadline, Date.parse(stream.events[2].timestamp) + 30_000);
    stream.add("proposal.distributed", proposal(1, ["bob", "ann"], { feedback_within_seconds: 9 })).add("proposal.feedback", feedback("bob", "accept"));
    const proposing = folded(stream);
    assert.deepEqual([proposing.awaited, proposing.awaitsUser], [["ann"], true]);
    assert.equal(proposing.deadline, Date.parse(stream.events[6].timestamp) + 9000);
    assert.deepEqual([folded(stream, 2).awaited, folded(stream, 2).deadline], [[], null]);
  });

  for (const [seconds, counted] of [undefined, null, "9", -1, NaN, true, []].map((none) => [none, 30]).concat([[86_401, 86_400], [1e300, 86_400]])) {
    test(`a time of ${JSON.stringify(seconds)} seconds counts as ${counted}`, () => {
      const stream = new Stream().add("demand.understood", understood).add("filter.completed", { candidates }).add("demand.broadcast", { agent_ids: ["bob"], offers_within_seconds: seconds });
      const { deadline } = folded(stream);
      assert.equal(deadline, Date.parse(stream.events[2].timestamp) + counted * 1000);
    });
  }

  test("an offer keeps who wrote it, its terms and its needs", () => {
    const [bob, ann] = folded(offered()).offers;
    assert.deepEqual([bob.name, bob.writtenBy, bob.terms.price, bob.seq], ["BOB", "rules", 100, 4]);
    assert.deepEqual([ann.name, ann.writtenBy, ann.needs], ["ANN", "", ["chairs"]]);
  });

  test("a proposal asks those whose part was not settled in a sub-negotiation, each once", () => {
    const stream = offered().add("proposal.distributed", proposal(1, ["bob", "bob", assignment("dee", { subnet_id: "d-1.1" }), "ann"]));
    const [round] = folded(stream).rounds;
    assert.deepEqual([round.asked, round.isOpen, round.total], [["bob", "ann"], true, 90]);
    assert.deepEqual([round.assignments[0].price, round.assignments[0].offeredPrice], [90, 100]);
  });

  test("rounds go on: the one before is closed, and who rejected or stayed silent is left out", () => {
    const stream = proposed().add("proposal.feedback", feedback("bob", "reject", { comment: "too cheap" })).add("proposal.distributed", proposal(2, ["cy"]));
    const { rounds, round } = folded(stream);
    assert.deepEqual([round, rounds[0].isOpen, rounds[1].isOpen], [2, false, true]);
    assert.deepEqual(rounds[0].awaited, ["ann"]);
    assert.deepEqual(fates(folded(stream)), { bob: "withdrawn", ann: "withdrawn", cy: "declined" });
  });

  test("what the user says counts as the user's", () => {
    const stream = proposed({ confirm: true }).add("proposal.feedback", { user_id: "maria", proposal_id: "d-1-p1", decision: "revise", comment: "earlier" });
    const [round] = folded(stream).rounds;
    assert.deepEqual(round.answers.map(({ by, isUser, decision, comment }) => [by, isUser, decision, comment]), [["maria", true, "revise", "earlier"]]);
    assert.equal(round.awaitsUser, false);
  });

  test("an agent with the user's name is another one", () => {
    const stream = offered("d-1", { user_id: "bob", confirm: true }).add("proposal.distributed", proposal(1, ["bob"]));
    stream.add("proposal.feedback", feedback("bob", "accept"));
    assert.deepEqual([folded(stream).awaited, folded(stream).awaitsUser], [[], true]);
    stream.add("proposal.feedback", { user_id: "bob", proposal_id: "d-1-p1", decision: "accept" });
    assert.deepEqual(folded(stream).rounds[0].answers.map(({ isUser }) => isUser), [false, true]);
  });

  test("gaps and sub-negotiations run between offers and the proposal", () => {
    const stream = offered()
      .add("gap.identified", { capability: "chairs", gap: "no chairs", reason: "needed_by", needed_by: "ann", round: 1 })
      .add("subnet.triggered", { subnet_id: "d-1.1", capability: "chairs", surface_demand: "chairs", within_seconds: 60 })
      .add("subnet.triggered", { subnet_id: "d-1.2", capability: "lamps", within_seconds: 20 });
    const running = folded(stream);
    assert.equal(running.phase, "filling_gaps");
    assert.deepEqual(running.gaps.map(({ capability, neededBy, round }) => [capability, neededBy, round]), [["chairs", "ann", 1]]);
    assert.equal(running.deadline, Date.parse(stream.events[8].timestamp) + 20_000);
    stream.add("subnet.completed", { subnet_id: "d-1.2", outcome: "timed_out" }).add("subnet.completed", { subnet_id: "d-1.2", outcome: "finalized" });
    stream.add("subnet.completed", { subnet_id: "d-1.1" });
    assert.deepEqual(folded(stream).subnets.map(({ id, outcome, changedSeq }) => [id, outcome, changedSeq]), [["d-1.1", "failed", 12], ["d-1.2", "timed_out", 10]]);
    assert.equal(folded(stream).deadline, null);
  });
});

describe("the outcome", () => {
  test("an agreement is the plan that it says", () => {
    const plan = { assignments: [assignment("bob", { terms: { price: 80 } })], missing: ["lamps"], total_price: 80, currency: "EUR", summary: "done" };
    const { outcome, status, candidates: all } = folded(proposed().add("proposal.finalized", { proposal: plan, is_complete: false, written_by: "llm" }));
    assert.deepEqual([status, outcome.kind, outcome.round, outcome.isComplete], ["finalized", "finalized", 1, false]);
    assert.deepEqual([outcome.plan.summary, outcome.plan.total, outcome.plan.number, outcome.plan.writtenBy], ["done", 80, 1, "llm"]);
    assert.deepEqual(all.map(({ fate }) => fate), ["chosen", "offered", "declined"]);
  });

  for (const [name, payload] of [["nothing", {}], ["a text", { proposal: "x" }], ["an empty plan", { proposal: { assignments: [] } }]]) {
    test(`an agreement that says ${name} is about the last proposal`, () => {
      const { outcome } = folded(proposed().add("proposal.finalized", payload));
      assert.deepEqual(outcome.plan.assignments.map(({ id }) => id), ["bob", "ann"]);
      assert.equal(outcome.plan.summary, "a plan");
    });
  }

  test("an agreement without any proposal is an empty plan", () => {
    const { outcome } = folded(new Stream().add("demand.understood", understood).add("proposal.finalized", null));
    assert.deepEqual([outcome.plan.assignments, outcome.plan.number, outcome.isComplete], [[], 0, true]);
  });

  test("a failure and a cancellation have a reason and no plan", () => {
    const failed = folded(proposed().add("negotiation.failed", { reason: "over_budget", message: "too much", round: 1 })).outcome;
    assert.deepEqual([failed.kind, failed.reason, failed.message, failed.plan], ["failed", "over_budget", "too much", null]);
    const cancelled = folded(proposed().add("negotiation.cancelled", { reason: "moved", by: "user" })).outcome;
    assert.deepEqual([cancelled.kind, cancelled.reason, cancelled.by, cancelled.plan], ["cancelled", "moved", "user", null]);
  });

  test("nothing counts after the end", () => {
    const stream = proposed().add("negotiation.failed", { reason: "x" });
    for (const type of Object.keys(CHANGES)) stream.add(`!${type}`, { agent_id: "ann", capability: "c", decision: "accept", proposal_id: "d-1-p1" });
    const ended = folded(stream);
    assert.equal(ended.outcome.reason, "x");
    assert.deepEqual([ended.rounds.length, ended.gaps.length, ended.rounds[0].answers.length], [1, 0, 0]);
  });
});

describe("whose answers count", () => {
  for (const [name, type, payload] of [
    ["a second offer of the same agent", "offer.submitted", { agent_id: "bob", offer: { content: "better" } }],
    ["an offer of somebody who was not invited", "offer.submitted", { agent_id: "eve", offer: { content: "me" } }],
    ["an offer after a refusal", "offer.submitted", { agent_id: "cy", offer: { content: "after all" } }],
    ["a refusal after an offer", "offer.declined", { agent_id: "ann", reason: "no" }],
    ["an offer of nobody", "offer.submitted", { offer: { content: "x" } }],
    ["an offer of a number", "offer.submitted", { agent_id: 7, offer: {} }],
  ]) {
    test(`${name} changes nothing but the position`, () => {
      const before = folded(offered());
      const after = folded(offered().add(type, payload));
      assert.deepEqual({ ...after, seq: 0, at: "", eventCount: 0 }, { ...before, seq: 0, at: "", eventCount: 0 });
      assert.equal(after.seq, before.seq + 1);
    });
  }

  test("an offer before the invitation, or after the collecting is over, does not count", () => {
    const early = new Stream().add("demand.understood", understood).add("filter.completed", { candidates }).add("offer.submitted", { agent_id: "bob", offer: {} });
    assert.deepEqual(folded(early).offers, []);
    const stream = proposed();
    const late = { agent_id: "cy", offer: {} };
    stream.events.splice(5, 1);
    assert.equal(folded(stream.add("offer.submitted", late)).offers.length, 2);
  });

  for (const [name, payload] of [
    ["to another proposal", { agent_id: "bob", proposal_id: "d-1-p9", decision: "accept" }],
    ["without a proposal", { agent_id: "bob", decision: "accept" }],
    ["of somebody without a part", { agent_id: "cy", proposal_id: "d-1-p1", decision: "accept" }],
    ["of another user", { user_id: "eve", proposal_id: "d-1-p1", decision: "reject" }],
    ["of nobody", { proposal_id: "d-1-p1", decision: "accept" }],
    ["with another word", { agent_id: "bob", proposal_id: "d-1-p1", decision: "maybe" }],
    ["with no word", { agent_id: "bob", proposal_id: "d-1-p1", decision: ["accept"] }],
  ]) {
    test(`feedback ${name} does not count`, () => {
      const [round] = folded(proposed().add("proposal.feedback", payload)).rounds;
      assert.deepEqual([round.answers, round.awaited], [[], ["bob", "ann"]]);
    });
  }

  test("of two answers to a proposal the first counts", () => {
    const [round] = folded(proposed().add("proposal.feedback", feedback("bob", "reject")).add("proposal.feedback", feedback("bob", "accept"))).rounds;
    assert.deepEqual(round.answers.map(({ decision }) => decision), ["reject"]);
  });

  for (const id of ["d-1", "d-2.1", "", "d-10.1", 7, null]) {
    test(`a sub-negotiation called ${JSON.stringify(id)} is not this demand's`, () => {
      const stream = offered().add("gap.identified", { capability: "x" }).add("subnet.triggered", { subnet_id: id, capability: "x" });
      assert.deepEqual(folded(stream).subnets, []);
    });
  }

  test("a sub-negotiation that is started twice is one", () => {
    const stream = offered().add("gap.identified", { capability: "x" });
    for (const capability of ["x", "y"]) stream.add("subnet.triggered", { subnet_id: "d-1.1", capability });
    assert.deepEqual(folded(stream).subnets.map(({ capability }) => capability), ["x"]);
  });

  for (const [given, number, shown] of [[3, 3, 3], [0, 1, 1], [-1, 1, 1], [1001, 1, 1], ["2", 1, 1], [1.5, 1, 1], [undefined, 1, 1]]) {
    test(`a proposal of round ${JSON.stringify(given)} is number ${number}`, () => {
      const negotiation = folded(offered().add("proposal.distributed", proposal(given, ["bob"])));
      assert.deepEqual([negotiation.rounds[0].number, negotiation.round], [number, shown]);
    });
  }
});

describe("garbage", () => {
  const evil = "<img src=x onerror=alert(1)>";
  const values = [null, undefined, 7, -1, NaN, 1e308, true, "", evil, [], [null], [evil], [[]], [{}], {}, { [evil]: evil }, { __proto__: null }, [{ agent_id: "__proto__", capability: "toString", name: 3 }]];
  const fields =
    "surface_demand raw_input capabilities requirements confirm candidates agent_ids agent_id offer reason capability gap needed_by round subnet_id outcome proposal_id assignments missing total_price currency wishes considered summary decision comment terms proposal is_complete by user_id offers_within_seconds".split(" ");

  test("any payload in any event leaves a negotiation that can be shown", () => {
    for (const value of values) {
      for (const base of [{}, Object.fromEntries(fields.map((field) => [field, value]))]) {
        const stream = new Stream();
        for (const type of Object.keys(CHANGES)) stream.add(`!${type}`, value).add(`!${type}`, { ...base, agent_id: "bob", subnet_id: "d-1.1", proposal_id: value });
        const negotiation = folded(stream);
        assert.equal(negotiation.eventCount, stream.events.length);
        JSON.stringify(negotiation);
      }
    }
  });

  test("a broken payload in each place of a whole history is survived", () => {
    const whole = proposed().add("proposal.feedback", feedback("bob", "accept")).add("proposal.finalized", {}).events;
    for (let i = 0; i < whole.length; i += 1) {
      for (const value of values) {
        const events = whole.map((event, place) => (place === i ? { ...event, payload: value } : event));
        assert.equal(fold("d-1", events).eventCount, whole.length);
      }
    }
  });

  test("what cannot be the id of an agent is nobody", () => {
    const ids = ["no id", "x".repeat(123), "<b>", "", " ", 7, null, "bob"];
    const stream = new Stream().add("demand.understood", understood).add("filter.completed", { candidates: ids.map((agent_id) => ({ agent_id })) }).add("demand.broadcast", { agent_ids: ids });
    const { candidates: all, invitation } = folded(stream);
    assert.deepEqual([all.map(({ id }) => id), invitation.ids], [["bob"], ["bob"]]);
  });

  test("terms that are too large or too deep are none, and lists are cut", () => {
    const terms = (value) => {
      const stream = new Stream().add("demand.understood", understood).add("filter.completed", { candidates }).add("demand.broadcast", { agent_ids: ["bob"] });
      const many = [...Array(150).keys()].map(String);
      return folded(stream.add("offer.submitted", { agent_id: "bob", offer: { terms: value, capabilities: ["x".repeat(1001), ...many] } })).offers[0];
    };
    assert.deepEqual(terms({ price: 1, note: "x".repeat(5000) }).terms, {});
    assert.deepEqual(terms({ a: [[[[[[[[1]]]]]]]] }).terms, {});
    assert.deepEqual(terms({ price: 1, a: [[1]] }).terms, { price: 1, a: [[1]] });
    assert.deepEqual([terms({}).capabilities.length, terms({}).capabilities[0]], [100, "0"]);
  });

  test("blank texts say nothing", () => {
    const { wanted } = folded(new Stream().add("demand.understood", { surface_demand: "  ", raw_input: "x", user_id: "\n", capabilities: [{ capability: " " }] }));
    assert.deepEqual([wanted.surface, wanted.user, wanted.capabilities], ["x", "anonymous", []]);
  });

  test("agents with the names of object properties are ordinary ones", () => {
    const stream = new Stream().add("demand.understood", understood).add("filter.completed", { candidates: ["__proto__", "constructor"].map((agent_id) => ({ agent_id, name: "x" })) });
    stream.add("demand.broadcast", { agent_ids: ["__proto__", "constructor"] }).add("offer.submitted", { agent_id: "__proto__", offer: {} });
    assert.deepEqual(folded(stream).offers.map(({ id, name }) => [id, name]), [["__proto__", "x"]]);
  });
});

describe("positions", () => {
  const stream = proposed().add("proposal.feedback", feedback("bob", "accept")).add("!note", {}).add("proposal.feedback", feedback("ann", "accept")).add("proposal.finalized", {});

  test("the past is what a fold of only its events gives", () => {
    for (let n = 0; n <= stream.events.length; n += 1) {
      assert.deepEqual(fold("d-1", stream.events, n), fold("d-1", stream.events.slice(0, n)));
    }
  });

  test("folding changes neither events nor earlier results", () => {
    const before = JSON.stringify(stream.events);
    const first = fold("d-1", stream.events, 7);
    const copy = JSON.stringify(first);
    fold("d-1", stream.events);
    assert.equal(JSON.stringify(stream.events), before);
    assert.equal(JSON.stringify(first), copy);
  });
});
