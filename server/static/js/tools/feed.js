/**
 * What the tools of one session do, from its first event on.
 *
 * @import { StreamState } from "../lib/stream-options.js"
 * @import { EventStream } from "../lib/event-stream.js"
 * @import { ToolEvent } from "./state.js"
 */

import { followWhole } from "../lib/snapshot-feed.js";
import { eventsPath } from "./api.js";
import { toolEventOf } from "./state.js";

/**
 * @param {string} sessionId
 * @param {object} handlers
 * @param {() => void} handlers.onBegin what is shown comes again from the beginning
 * @param {(event: ToolEvent) => void} handlers.onEvent
 * @param {(state: StreamState) => void} handlers.onState
 * @returns {EventStream}
 */
export function followRoom(sessionId, { onEvent, ...handlers }) {
  return followWhole({ stream: `mcp:${sessionId}`, path: eventsPath(sessionId), onEvent: (event) => onEvent(toolEventOf(event)), ...handlers });
}
