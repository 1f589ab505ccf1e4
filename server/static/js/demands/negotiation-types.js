/**
 * What a negotiation is on the page, as JSDoc types; nothing runs here. Times are ISO-8601, deadlines ms since 1970.
 *
 * @typedef {"rules" | "llm" | ""} Writer the origin of a text; empty: an agent or a person
 * @typedef {"found" | "invited" | "offered" | "declined" | "silent" | "proposed" | "withdrawn" | "chosen"} Fate
 *
 * @typedef {object} Requirements
 * @property {number | null} people
 * @property {number | null} budget
 * @property {string} currency
 * @property {string} date
 *
 * @typedef {object} Wanted
 * @property {string} surface what is wanted, in one line
 * @property {string} raw as it was written
 * @property {string} confidence
 * @property {{name: string, term: string}[]} capabilities
 * @property {string} language
 * @property {string} user
 * @property {Requirements} requirements
 * @property {boolean} confirm the user's yes is needed too
 * @property {Writer} writtenBy
 * @property {string} parent demand id; empty for a root
 * @property {string} forCapability
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Candidate
 * @property {string} id
 * @property {string} name
 * @property {string} reason
 * @property {number | null} score
 * @property {Fate} fate what has become of it
 *
 * @typedef {object} Invitation
 * @property {string[]} ids
 * @property {number | null} deadline
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Offer
 * @property {string} id of the agent
 * @property {string} name
 * @property {string} content
 * @property {string[]} capabilities
 * @property {Record<string, any>} terms
 * @property {string[]} needs what it needs from somebody else
 * @property {Writer} writtenBy
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Decline
 * @property {string} id
 * @property {string} name
 * @property {string} reason
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Assignment
 * @property {string} id of the agent
 * @property {string} name
 * @property {string[]} capabilities
 * @property {Record<string, any>} terms what is proposed
 * @property {number | null} price what is proposed
 * @property {number | null} offeredPrice the price of the agent's offer
 * @property {string[]} conditions
 * @property {string} subnetId agreed in that sub-negotiation; else empty
 *
 * @typedef {object} Answer
 * @property {string} by agent or user id
 * @property {boolean} isUser
 * @property {string} name
 * @property {"accept" | "revise" | "reject"} decision
 * @property {string} comment
 * @property {Record<string, any>} terms
 * @property {Writer} writtenBy
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Considered an answer to the round before
 * @property {string} by
 * @property {boolean} isUser
 * @property {string} decision accept, revise, reject or silent
 * @property {string} comment
 *
 * @typedef {object} Round
 * @property {number} number
 * @property {string} proposalId
 * @property {Assignment[]} assignments
 * @property {string[]} missing
 * @property {number | null} total
 * @property {string} currency
 * @property {Requirements} requirements
 * @property {string[]} wishes of the user
 * @property {Considered[]} considered
 * @property {string} summary
 * @property {Writer} writtenBy
 * @property {number | null} deadline
 * @property {Answer[]} answers the first one of each participant
 * @property {string[]} asked agents that have to answer
 * @property {string[]} awaited agents that have not answered
 * @property {boolean} awaitsUser the user's yes is needed and was not given
 * @property {boolean} isOpen answers still count
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Gap
 * @property {string} capability
 * @property {string} sentence
 * @property {string} reason no_offer, withdrawn or needed_by
 * @property {string} neededBy agent id or empty
 * @property {number} round of the proposal to come
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Subnet
 * @property {string} id demand id of the sub-negotiation
 * @property {string} capability
 * @property {string} surface
 * @property {number | null} deadline
 * @property {string} outcome empty while it runs
 * @property {string} reason
 * @property {number} seq
 * @property {number} changedSeq of the event that changed it last
 * @property {string} at
 *
 * @typedef {object} Outcome
 * @property {"finalized" | "failed" | "cancelled"} kind
 * @property {string} reason
 * @property {string} message
 * @property {string} by the user or the parent that cancelled
 * @property {number} round
 * @property {Round | null} plan what was agreed
 * @property {boolean} isComplete nothing is missing
 * @property {number} seq
 * @property {string} at
 *
 * @typedef {object} Negotiation
 * @property {string} id
 * @property {number} seq of the last event that this is true at; 0 before the first
 * @property {string} at
 * @property {number} eventCount
 * @property {string} phase
 * @property {string} status
 * @property {number} round
 * @property {Wanted | null} wanted
 * @property {Candidate[] | null} candidates null before filtering
 * @property {number} candidatesSeq
 * @property {string} candidatesAt
 * @property {Invitation | null} invitation
 * @property {Offer[]} offers
 * @property {Decline[]} declines
 * @property {string[]} awaited agents whose answer is awaited now
 * @property {boolean} awaitsUser
 * @property {number | null} deadline of the present waiting
 * @property {Gap[]} gaps
 * @property {Subnet[]} subnets
 * @property {Round[]} rounds
 * @property {Outcome | null} outcome
 * @property {Map<string, string>} names by agent id
 */

export {};
