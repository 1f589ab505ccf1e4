/**
 * A run of several writing agents as the page keeps it, as JSDoc types; nothing runs here.
 *
 * @import { GrowingText } from "./growing-text.js"
 * @import { AgentStatus, RunStatus } from "./tables.js"
 *
 * @typedef {"nova" | "loomi"} Mode
 * @typedef {{type: string, source: string, payload: Record<string, any>, timestamp: string, seq: number}} RunEvent
 *
 * @typedef {object} Agent
 * @property {string} name
 * @property {string} task what it is there for; may be empty
 * @property {number} stage agents of one stage write at the same time
 * @property {AgentStatus} status
 * @property {GrowingText} text since it last began
 * @property {string} summary
 * @property {string} errorType why it failed or tries again
 * @property {string} error the same as the server's sentence
 * @property {number} retries since it last began
 * @property {number | null} nextTryAt ms since 1970; null where it does not wait, or the event names no time
 * @property {string} writtenBy the model, or `template`; empty before the first piece
 * @property {boolean} degraded no model has written it
 *
 * @typedef {{percent: number, stage: number, completed: number, total: number}} Progress
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {RunStatus} status
 * @property {Mode} mode
 * @property {string} prompt
 * @property {string} sessionId empty: none
 * @property {Agent[]} agents in the order of the plan
 * @property {string} continues the run whose result the agents were given; empty: none
 * @property {Progress} progress
 * @property {string} reason why it failed
 * @property {string} error the same as the server's sentence
 * @property {string} result
 * @property {boolean} partial agents that failed are missing in the result
 * @property {boolean} degraded
 * @property {number} resumes restarts of the server that it survived
 * @property {string} createdAt
 * @property {string} endedAt
 * @property {number} createdSeq
 * @property {number} lastSeq everything up to here is in it
 */

export {};
