/**
 * What the page itself appends to tasks: single events, whose way back is measured, and bursts.
 *
 * @import { Translator } from "../ui/i18n.js"
 * @import { TaskWatch } from "./feed.js"
 */

import { randomId } from "../lib/random-id.js";
import { emit, emitAll } from "./api.js";
import { burst } from "./sample.js";

const BURST_EVENTS = 1000;
const SOURCE = "demo-page";

/**
 * Append an event; where its task is watched live, it counts how long it takes until it is back.
 *
 * @param {TaskWatch | null} watched
 * @param {string} taskId
 * @param {Record<string, any>} event with its event_id
 * @returns {Promise<any>} rejects with `RequestError`
 */
export function sendEvent(watched, taskId, event) {
  if (watched?.taskId === taskId && watched.state.name === "connected") watched.delays.sent(event.event_id, performance.now());
  return emit(taskId, { ...event, source: SOURCE });
}

/**
 * Begin a task: it is there with its first event.
 *
 * @param {string} taskId
 * @returns {Promise<any>} rejects with `RequestError`
 */
export function createTask(taskId) {
  return sendEvent(null, taskId, { event_type: "task_created", payload: {}, event_id: randomId() });
}

/**
 * @param {TaskWatch} watched
 * @param {Translator} t
 */
export async function sendNote(watched, t) {
  await sendEvent(watched, watched.taskId, { event_type: "note", payload: { text: t.text("try.note") }, event_id: randomId() });
}

/**
 * Append very many events and log how long it took.
 *
 * @param {TaskWatch} watched
 * @param {Translator} t
 * @param {() => void} onShown all of them are here
 */
export async function sendBurst(watched, t, onShown) {
  const began = performance.now();
  const event_id = randomId();
  const events = burst(BURST_EVENTS, watched.task.events + 1).map((event) => ({ ...event, source: SOURCE }));
  const shown = watched.arrival(event_id).then(() => performance.now() - began);
  await emitAll(watched.taskId, [...events.slice(0, -1), { ...events[events.length - 1], event_id }]);
  const sent = performance.now() - began;
  void shown.then((span) => {
    watched.log.say("remark.burst", { count: BURST_EVENTS, sent: t.span(sent), shown: t.span(Math.max(sent, span)) });
    onShown();
  });
}
