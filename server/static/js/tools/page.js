/**
 * The page of the tools: what the tools of a session do, what they ask, and the answers.
 *
 * The address says which session is watched (`#session`), and the last one is remembered. What is on the screen is a
 * function of `room` and the language.
 *
 * @import { EventStream } from "../lib/event-stream.js"
 * @import { Room } from "./state.js"
 */

import { seqDigits } from "../lib/cursor.js";
import { serverNow } from "../lib/server-clock.js";
import { remembered, shellOf } from "../ui/shell.js";
import { EMPTY_ROOM, foldRoom, SESSION_ID, withDeadlines } from "./state.js";
import { answerPermission, readHealth } from "./api.js";
import { followRoom } from "./feed.js";
import { en, zh } from "./strings.js";
import { countdowns } from "../ui/views/countdown.js";
import { promptsView } from "./views/prompts.js";
import { byId } from "../ui/views/static-texts.js";
import { toolroomView } from "./views/toolroom.js";
import { setText } from "../lib/html.js";

const SETTLE_MS = 200; // several requests at once are one question for their deadlines

const shell = shellOf({ strings: { en, zh }, main: "prompts", reconnectNow: () => stream?.reconnectNow(), render });
const lastSession = remembered(shell.storage, "towow.tools");
const writeCountdowns = countdowns(() => shell.t, { left: "prompt.left", over: "prompt.over" });
const views = { prompts: promptsView((prompt, approved, reason) => answerPermission(sessionId, prompt.id, approved, reason)), room: toolroomView() };
let sessionId = "";
/** @type {Room} */
let room = EMPTY_ROOM;
/** @type {EventStream | null} */
let stream = null;
/** @type {number | undefined} */
let deadlineTimer;

function render() {
  const { t } = shell;
  const count = room.prompts.length;
  document.title = `${count ? `(${t.number(count)}) ` : ""}${t.text("tools.title")}`;
  const isRefused = stream?.state.reason === "forbidden";
  byId("room-none").hidden = sessionId !== "";
  byId("room-some").hidden = sessionId === "" || isRefused;
  complain(isRefused ? t.text("tools.refused") : "");
  views.prompts.render(room.prompts, t);
  views.room.render(room, t);
  writeCountdowns();
  shell.renderConnection(stream ? [stream.state] : [], Number(seqDigits(stream?.cursor?.id ?? "0")));
}

/** @param {string} text */
function complain(text) {
  const message = byId("watch-message");
  setText(message, text);
}

/** @param {string} id */
function watch(id) {
  stream?.close();
  sessionId = id;
  byId("session-id").value = id;
  lastSession.set(id);
  stream = followRoom(id, {
    onBegin() {
      room = EMPTY_ROOM;
      shell.plan();
    },
    onEvent(event) {
      room = foldRoom(room, event);
      if (event.type === "permission_request") planDeadlines();
      shell.plan();
    },
    onState: shell.onState,
  });
  render();
}

function planDeadlines() {
  window.clearTimeout(deadlineTimer);
  deadlineTimer = window.setTimeout(readDeadlines, SETTLE_MS);
}

/** Ask the server how long each request has left; without an answer the times in the requests count. */
async function readDeadlines() {
  if (!room.prompts.length) return;
  const requested = sessionId;
  try {
    const { pending } = await readHealth(requested);
    if (requested === sessionId) room = withDeadlines(room, pending, serverNow());
    shell.plan();
  } catch {
    // The times in the requests are right as long as the clocks are.
  }
}

function followAddress() {
  const id = location.hash.slice(1);
  if (SESSION_ID.test(id) && id !== sessionId) watch(id);
}

byId("watch-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const id = byId("session-id").value.trim();
  if (!SESSION_ID.test(id)) {
    complain(shell.t.text("tools.invalid"));
    byId("session-id").focus();
  } else if (location.hash === `#${id}`) {
    watch(id);
  } else {
    location.hash = id;
  }
});

await shell.start();
window.addEventListener("hashchange", followAddress);
followAddress();
if (!sessionId && SESSION_ID.test(lastSession.get())) watch(lastSession.get());
