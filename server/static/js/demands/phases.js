/**
 * How events move a negotiation on: the same table as the server's model, for the list and for the negotiation.
 *
 * An event without a place in its phase's row changes neither phase nor status.
 */

const ENDS = {
  "towow.proposal.finalized": "finalized",
  "towow.negotiation.failed": "failed",
  "towow.negotiation.cancelled": "cancelled",
};

/** Phase → event type → the phase after it. @type {Record<string, Record<string, string>>} */
export const TRANSITIONS = {
  new: { "towow.demand.understood": "understood" },
  understood: { "towow.filter.completed": "filtered", ...ENDS },
  filtered: { "towow.demand.broadcast": "collecting_offers", ...ENDS },
  collecting_offers: {
    "towow.offer.submitted": "collecting_offers",
    "towow.offer.declined": "collecting_offers",
    "towow.gap.identified": "filling_gaps",
    "towow.proposal.distributed": "proposing",
    "deadline.extended": "collecting_offers",
    ...ENDS,
  },
  filling_gaps: {
    "towow.gap.identified": "filling_gaps",
    "towow.subnet.triggered": "filling_gaps",
    "towow.subnet.completed": "filling_gaps",
    "towow.proposal.distributed": "proposing",
    "deadline.extended": "filling_gaps",
    ...ENDS,
  },
  proposing: {
    "towow.proposal.feedback": "proposing",
    "towow.gap.identified": "filling_gaps",
    "towow.proposal.distributed": "proposing",
    "deadline.extended": "proposing",
    ...ENDS,
  },
  finalized: {},
  failed: {},
  cancelled: {},
};

/**
 * The phase after an event; undefined when the event means nothing in this phase.
 *
 * @param {string} phase
 * @param {string} eventType
 * @returns {string | undefined}
 */
export function phaseAfter(phase, eventType) {
  const row = Object.hasOwn(TRANSITIONS, phase) ? TRANSITIONS[phase] : {};
  return Object.hasOwn(row, eventType) ? row[eventType] : undefined;
}

/**
 * What the API calls the state of a negotiation.
 *
 * @param {string} phase
 * @returns {string} processing, finalized, failed or cancelled
 */
export function statusOf(phase) {
  return phase === "finalized" || phase === "failed" || phase === "cancelled" ? phase : "processing";
}
