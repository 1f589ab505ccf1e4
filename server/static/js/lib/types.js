/**
 * The shapes that the server sends and the page keeps, as JSDoc types; nothing runs here.
 *
 * @typedef {object} StoredEvent
 * @property {number} seq place in the whole log
 * @property {string} stream `kind:id`
 * @property {number} revision place in the stream, from 1 without gaps
 * @property {string} event_id
 * @property {string} event_type
 * @property {string} timestamp UTC ISO-8601 with milliseconds and `Z`
 * @property {string} source the publisher's name
 * @property {Record<string, any>} payload
 * @property {string | null} [cursor] the place after it, to go on from, when a stream or a page has brought it; null only where the
 *   server gave none and its seq is larger than a number holds
 *
 * @typedef {object} Cursor
 * @property {string | null} epoch the log it belongs to; null while unknown
 * @property {string} id exclusive, the last event that was handled: `<seq>.<check>` as the server gave it, or the digits of a seq
 *
 * @typedef {object} EventPage
 * @property {StoredEvent[]} events ascending by seq
 * @property {boolean} has_more
 * @property {number} next_since_seq
 * @property {string} next_cursor where to go on from
 * @property {number} head_seq
 * @property {string} epoch
 * @property {boolean} [ended] nothing will ever follow on this stream
 *
 * @typedef {object} Demand
 * @property {string} demand_id
 * @property {string} channel_id
 * @property {string} status processing, finalized, failed or cancelled
 * @property {string} phase how far the negotiation is
 * @property {string} surface_demand
 * @property {string} user_id
 * @property {string | null} [parent_demand_id] of a sub-negotiation
 * @property {string} created_at
 * @property {string} updated_at
 * @property {number} current_round
 * @property {number} last_seq the event that this summary is true at
 * @property {number} created_seq
 *
 * @typedef {object} DemandPage
 * @property {Demand[]} demands newest first
 * @property {boolean} has_more
 * @property {number} head_seq
 * @property {string} epoch
 *
 * @typedef {object} Agent
 * @property {string} agent_id
 * @property {string} name
 * @property {string[]} capabilities
 * @property {string} description
 * @property {boolean} [sample] came with the server
 * @property {string} registered_at
 */

export {};
