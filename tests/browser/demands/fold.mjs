/**
 * Histories as JSON on stdin (one list of events each), the page's folds of them on stdout, in the words of the API.
 */

import { readFileSync } from "node:fs";

import { fold } from "../../../server/static/js/demands/negotiation.js";

const iso = (milliseconds) => (milliseconds === null ? null : new Date(milliseconds).toISOString());

function told(events) {
  const { phase, status, round, seq, wanted, candidates, offers, declines, awaited, awaitsUser, deadline, rounds, gaps, subnets, outcome } = fold("d-1", events);
  return {
    phase,
    status,
    current_round: round,
    last_seq: seq,
    surface_demand: wanted?.surface ?? "",
    user_id: wanted?.user ?? "anonymous",
    confirm: wanted?.confirm ?? false,
    capabilities: (wanted?.capabilities ?? []).map(({ name, term }) => [name, term]),
    candidates: (candidates ?? []).map(({ id }) => id),
    offers: offers.map(({ id, content, capabilities, terms, needs, seq: place }) => [id, content, capabilities, Object.keys(terms), needs, place]),
    declined: declines.map(({ id, reason, seq: place }) => [id, reason, place]),
    waiting_for: awaitsUser ? [...awaited, wanted.user] : awaited,
    deadline_at: status === "processing" ? iso(deadline) : null,
    proposals: rounds.map((each) => ({
      proposal_id: each.proposalId,
      round: each.number,
      total_price: each.total,
      missing: each.missing,
      assignments: each.assignments.map(({ id, price, offeredPrice, subnetId }) => [id, price, offeredPrice, subnetId]),
      feedback: each.answers.map(({ by, isUser, decision, comment, seq: place }) => [by, isUser, decision, comment, place]),
    })),
    gaps: gaps.map(({ capability, reason, neededBy, round: of, seq: place }) => [capability, reason, neededBy, of, place]),
    subnets: subnets.map(({ id, capability, outcome: end, reason, seq: place }) => [id, capability, end, reason, place]),
    outcome: outcome && [outcome.kind, outcome.reason, outcome.message, outcome.seq],
  };
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(told)));
