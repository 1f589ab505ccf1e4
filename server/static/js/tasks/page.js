/**
 * The page of the tasks: one is chosen, made or sent from here, watched as it runs, and disturbed on purpose.
 *
 * The address says which task is watched (`#task`), and the last one is remembered. What is on the screen is a function of
 * the watched task, the list and the language.
 *
 * @import { Tasks } from "./views/list.js"
 */

import { RequestError } from "../lib/http.js";
import { remembered, shellOf } from "../ui/shell.js";
import { readTask, readTasks } from "./api.js";
import { Sampling } from "./sampling.js";
import { createTask, sendBurst, sendEvent, sendNote } from "./sends.js";
import { isOver, TASK_ID } from "./state.js";
import { en, zh } from "./strings.js";
import { TaskWatch } from "./feed.js";
import { failureText } from "../ui/failure-text.js";
import { byId } from "../ui/views/static-texts.js";
import { taskConnectionView } from "./views/connection.js";
import { renderTaskHead } from "./views/head.js";
import { renderTaskItems } from "./views/items.js";
import { renderTaskList, tasksWith } from "./views/list.js";
import { taskLogView } from "./views/log.js";
import { renderSampling } from "./views/sampling.js";
import { renderTaskSources } from "./views/sources.js";
import { triesView } from "./views/tries.js";
import { setText } from "../lib/html.js";

const shell = shellOf({ strings: { en, zh }, main: "task", reconnectNow, render });
const lastTask = remembered(shell.storage, "towow.task");
const views = {
  connection: taskConnectionView(),
  log: taskLogView(),
  tries: triesView({
    setOffline: (isOffline) => watched?.setOffline(isOffline),
    drop: toggleDrop,
    sendOne: () => (watched ? sendNote(watched, shell.t) : Promise.resolve()),
    sendBurst: () => (watched ? sendBurst(watched, shell.t, shell.plan) : Promise.resolve()),
  }),
};
/** @type {Tasks} */
let tasks = { list: [], hasMore: false, status: "loading", error: "" };
/** @type {TaskWatch | null} */
let watched = null;
let missing = ""; // id of a requested task that does not exist
let complaint = "";
let wasOver = false;
let requested = ""; // id of the task that was requested last
const sampling = new Sampling({ storage: readSessionStorage(), post: (taskId, event) => sendEvent(watched, taskId, event), onBegin: goTo, onChange: shell.plan });

function render() {
  const { t } = shell;
  const task = watched?.task;
  const isRefused = watched?.state.reason === "forbidden";
  document.title = watched && task ? `${t.text("task.percent", { percent: Math.floor(task.progress) })} ${watched.taskId} — ToWow` : t.text("tasks.title");
  byId("task-none").hidden = watched !== null;
  byId("task-some").hidden = watched === null || isRefused;
  byId("connection").hidden = watched === null || hasEnded();
  byId("choose-create").hidden = missing === "";
  const said = isRefused ? t.text("choose.refused") : missing ? t.text("choose.missing", { id: missing }) : complaint;
  setText(byId("choose-message"), said);
  renderTaskList(watched && task ? tasksWith(tasks, watched.taskId, task) : tasks, watched?.taskId ?? "", t);
  renderSampling(sampling, t);
  if (!watched || !task) return;
  renderTaskHead(watched.taskId, task, t);
  renderTaskItems(task, t);
  renderTaskSources(watched.taskId, t);
  views.log.render(watched.log, task, t);
  views.connection.render(watched, t);
  views.tries.render({ isOffline: watched.isOffline, isArmed: watched.isArmed, isOver: isOver(task) }, t);
  shell.renderConnection(hasEnded() ? [] : [watched.state], task.lastSeq);
  if (isOver(task) && !wasOver) void loadTasks();
  wasOver = isOver(task);
}

/** Whether there is nothing to be connected to any more. */
function hasEnded() {
  return watched?.state.reason === "ended";
}

async function loadTasks() {
  try {
    const { tasks: list, has_more } = await readTasks();
    tasks = { list, hasMore: has_more, status: "ready", error: "" };
  } catch (error) {
    tasks = { ...tasks, status: "failed", error: failureText(error, shell.t) };
  }
  shell.plan();
}

function reconnectNow() {
  if (watched) watched.reconnectNow();
  else if (requested) void open(requested);
  void loadTasks();
}

/**
 * Watch a task if there is one of this id.
 *
 * @param {string} id
 * @param {boolean} [isRemembered] then it is no news that it is gone
 */
async function open(id, isRemembered = false) {
  byId("task-id").value = id;
  missing = complaint = "";
  requested = id;
  try {
    await readTask(id);
    if (requested === id) watch(id);
  } catch (error) {
    if (requested !== id) return;
    const status = error instanceof RequestError ? error.status : -1;
    if (status === 404) missing = isRemembered ? "" : id;
    else if (status === 403) complaint = shell.t.text("choose.refused");
    else complaint = shell.t.text("choose.failed", { message: failureText(error, shell.t) });
    if (location.hash.slice(1) === id && watched?.taskId !== id) stopWatching();
  }
  shell.plan();
}

function stopWatching() {
  watched?.stop();
  watched = null;
}

/** @param {string} id */
function watch(id) {
  stopWatching();
  lastTask.set(id);
  wasOver = false;
  views.log.begin();
  views.tries.clear();
  watched = new TaskWatch(id, { onChange: shell.plan, onState: shell.onState });
  void watched.start();
  if (!tasks.list.some(({ task_id }) => task_id === id)) void loadTasks();
  render();
}

/** Go to a task that has just got its first event. @param {string} id */
function goTo(id) {
  if (location.hash === `#${id}`) void open(id);
  else location.hash = id;
}

function toggleDrop() {
  if (watched) watched.isArmed = !watched.isArmed;
  shell.plan();
}

/** @returns {Storage | null} null where the browser refuses it */
function readSessionStorage() {
  try {
    return window.sessionStorage;
  } catch {
    return null;
  }
}

async function followAddress() {
  const id = location.hash.slice(1);
  if (TASK_ID.test(id) && id !== watched?.taskId) await open(id);
}

/** On a narrow screen the task is below the list: bring it into view once it is chosen. */
function showTask() {
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (watched && matchMedia("(max-width: 959.98px)").matches) byId("task").scrollIntoView({ behavior: isCalm ? "auto" : "smooth" });
}

byId("choose-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const id = byId("task-id").value.trim();
  if (TASK_ID.test(id)) return goTo(id);
  missing = "";
  complaint = shell.t.text("choose.invalid");
  byId("task-id").focus();
  render();
});
byId("create").addEventListener("click", async () => {
  const id = missing;
  try {
    await createTask(id);
    await open(id);
  } catch (error) {
    missing = "";
    complaint = shell.t.text("choose.failed", { message: failureText(error, shell.t) });
  }
  shell.plan();
});
byId("sample").addEventListener("click", () => sampling.start(shell.t.language));
byId("sample-stop").addEventListener("click", () => sampling.stop());
byId("tasks-again").addEventListener("click", () => void loadTasks());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && void loadTasks());

await shell.start();
window.addEventListener("hashchange", () => void followAddress().then(showTask));
void loadTasks();
void followAddress();
if (!watched && !missing && !location.hash && TASK_ID.test(lastTask.get())) void open(lastTask.get(), true);
sampling.goOn();
