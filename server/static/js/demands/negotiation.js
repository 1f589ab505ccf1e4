/**
 * A negotiation folded from its events, as it was at any seq; pure, and total on whatever anybody appended.
 *
 * The rules are the server's: an event counts only where `phases.js` has a place for it, offers only of invited agents,
 * answers only of participants, and of each only the first. Any other event only moves the position.
 *
 * @import { StoredEvent } from "../lib/types.js"
 * @import { Fate, Negotiation } from "./negotiation-types.js"
 */

import { object } from "../lib/fields.js";
import { CHANGES } from "./negotiation-events.js";
import { phaseAfter, statusOf } from "./phases.js";

/**
 * @param {string} id of the demand
 * @param {StoredEvent[]} events of its stream, ascending by seq
 * @param {number} [seq] inclusive: what came later is left out
 * @returns {Negotiation}
 */
export function fold(id, events, seq = Infinity) {
  const negotiation = begin(id);
  for (const event of events) {
    if (event.seq > seq) break;
    negotiation.seq = event.seq;
    negotiation.at = event.timestamp;
    negotiation.eventCount += 1;
    const phase = phaseAfter(negotiation.phase, event.event_type);
    if (phase === undefined) continue;
    negotiation.phase = phase;
    CHANGES[event.event_type](negotiation, object(event.payload), event);
  }
  conclude(negotiation);
  return negotiation;
}

/**
 * @param {string} id
 * @returns {Negotiation}
 */
function begin(id) {
  return {
    id,
    seq: 0,
    at: "",
    eventCount: 0,
    phase: "new",
    status: "processing",
    round: 1,
    wanted: null,
    candidates: null,
    candidatesSeq: 0,
    candidatesAt: "",
    invitation: null,
    offers: [],
    declines: [],
    awaited: [],
    awaitsUser: false,
    deadline: null,
    gaps: [],
    subnets: [],
    rounds: [],
    outcome: null,
    names: new Map(),
  };
}

/**
 * What follows from all events together: the awaited answers, and the fate of each candidate.
 *
 * @param {Negotiation} negotiation
 */
function conclude(negotiation) {
  const { phase, rounds, invitation, offers, declines, wanted } = negotiation;
  negotiation.status = statusOf(phase);
  const replied = new Set([...offers, ...declines].map(({ id }) => id));
  for (const round of rounds) {
    round.isOpen = phase === "proposing" && round === rounds.at(-1);
    const isAnswered = (/** @type {string} */ by, isUser = false) => round.answers.some((each) => each.isUser === isUser && each.by === by);
    round.awaited = round.asked.filter((id) => !isAnswered(id));
    round.awaitsUser = Boolean(wanted?.confirm) && !isAnswered(wanted?.user ?? "", true);
  }
  const last = rounds.at(-1);
  if (phase === "collecting_offers" && invitation) {
    negotiation.awaited = invitation.ids.filter((id) => !replied.has(id));
    negotiation.deadline = invitation.deadline;
  } else if (phase === "proposing" && last) {
    negotiation.awaited = last.awaited;
    negotiation.awaitsUser = last.awaitsUser;
    negotiation.deadline = last.deadline;
  } else if (phase === "filling_gaps") {
    const ends = negotiation.subnets.filter(({ outcome }) => !outcome).map((subnet) => subnet.deadline ?? Infinity);
    negotiation.deadline = ends.length ? finite(Math.min(...ends)) : null;
  }
  for (const candidate of negotiation.candidates ?? []) candidate.fate = fateOf(negotiation, candidate.id);
}

/**
 * @param {Negotiation} negotiation
 * @param {string} id of a candidate
 * @returns {Fate}
 */
function fateOf({ phase, rounds, invitation, offers, declines, outcome }, id) {
  const has = (/** @type {{id: string}[] | undefined} */ items) => Boolean(items?.some((item) => item.id === id));
  if (has(outcome?.plan?.assignments)) return "chosen";
  if (has(declines)) return "declined";
  if (has(offers)) {
    const last = rounds.at(-1);
    const hasLeft = rounds.some(
      (round) =>
        round.answers.some(({ by, decision, isUser }) => !isUser && by === id && decision === "reject") ||
        (round !== last && round.awaited.includes(id)),
    );
    if (hasLeft) return "withdrawn";
    return has(last?.assignments) && !outcome ? "proposed" : "offered";
  }
  if (!invitation?.ids.includes(id)) return "found";
  return phase === "collecting_offers" ? "invited" : "silent";
}

/**
 * @param {number} value
 * @returns {number | null}
 */
function finite(value) {
  return Number.isFinite(value) ? value : null;
}
