/** Whether the end of a stream means that a login is needed. @import { StreamState } from "./stream-options.js" */

const REASONS = ["unauthorized", "token_expired"];

/**
 * Whether a stream ended because the server does not know us any more.
 *
 * @param {StreamState} state
 * @returns {boolean}
 */
export function needsLogin({ name, reason }) {
  return name === "closed" && REASONS.includes(reason ?? "");
}
