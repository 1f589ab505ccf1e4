/**
 * The page of the generations: a prompt goes to several agents, and what each of them writes is seen as it is written.
 *
 * The address says which run is shown (`#r-…`), so a refresh goes on where it was; the session is this browser's, so a run goes on
 * from the last result. What is on the screen is a function of `page` and the language.
 *
 * @import { Run } from "./types.js"
 * @import { Model } from "./views/model.js"
 */

import { RequestError } from "../lib/http.js";
import { pastFeed, runFeed } from "./feed.js";
import { latestOf, NO_RUNS, withPage } from "./list-state.js";
import { randomId } from "../lib/random-id.js";
import { remembered, shellOf } from "../ui/shell.js";
import * as api from "./api.js";
import { en, zh } from "./strings.js";
import { composeView } from "./views/compose.js";
import { countdowns } from "../ui/views/countdown.js";
import { modelView } from "./views/model.js";
import { pastView } from "./views/list.js";
import { failureText } from "../ui/failure-text.js";
import { resultView } from "./views/result.js";
import { runView } from "./views/run.js";
import { byId } from "../ui/views/static-texts.js";
import { noRunView } from "./views/no-run.js";
import { writersView } from "./views/writers.js";

const RUN_LINK = /^#([A-Za-z0-9._:-]{1,124})$/;
const SESSION_ID = /^[A-Za-z0-9_-]{1,120}$/;
const CLOCK_MS = 20_000; // how often "3 minutes ago" is looked at again
const SECOND_MS = 1000;
const MODEL_MS = 2500; // between two looks at a model that is not ready

const shell = shellOf({ strings: { en, zh }, main: "run", reconnectNow, render, translate: (t) => views.compose.translate(t) });
const session = remembered(shell.storage, "towow.generations.session");
const page = {
  runId: "",
  /** @type {Run | null} */
  run: null,
  /** Why the run cannot be shown. @type {unknown} */
  runError: null,
  sessionId: SESSION_ID.test(session.get()) ? session.get() : newSession(),
  past: NO_RUNS,
  /** @type {"loading" | "ready" | "failed" | "forbidden"} */
  pastStatus: "loading",
  pastError: "",
  /** @type {Model | null} */
  model: null,
};
/** @type {ReturnType<typeof runFeed> | null} */
let chosen = null;
let isNewlyChosen = false;
/** @type {number | undefined} */
let modelTimer;

const earlier = pastFeed({
  past: () => page.past,
  onRuns(past) {
    if (page.pastStatus !== "ready" && latestOf(past, page.sessionId)) void renewSession();
    change({ past, pastStatus: "ready" });
  },
  onFailed: (error) => {
    const isRefused = error instanceof RequestError && error.status === 403;
    change({ pastStatus: isRefused ? "forbidden" : "failed", pastError: failureText(error, shell.t) });
  },
  onModel: showModel,
  onState: shell.onState,
});
const writeCountdowns = countdowns(() => shell.t, { left: "generations.attempt.left", over: "generations.attempt.over" });
const views = {
  compose: composeView({ start, lastMode: remembered(shell.storage, "towow.generations.mode") }),
  model: modelView(),
  none: noRunView(() => chosen?.reconnectNow()),
  past: pastView({ retry: () => earlier.reconnectNow(), older: loadOlder }),
  result: resultView(),
  run: runView(api.cancelRun),
  writers: writersView(render),
};

/** @param {Partial<typeof page>} changes */
function change(changes) {
  Object.assign(page, changes);
  shell.plan();
}

function render() {
  const { t } = shell;
  const { run, runId, runError, past, pastStatus, pastError } = page;
  const percent = run?.status === "running" ? `(${t.number(run.progress.percent)} %) ` : "";
  document.title = `${percent}${t.text("generations.title")}`;
  byId("run-some").hidden = !run;
  views.none.render({ runId, error: runError, isShown: !run }, t);
  if (run) {
    views.run.render(run, t);
    views.result.render(run, t);
    views.writers.render(run, t);
  }
  views.past.render({ past, status: pastStatus, error: pastError, chosen: runId }, t, Date.now());
  views.compose.render(latestOf(past, page.sessionId) !== null, pastStatus === "ready" && past.runs.size === 0);
  views.model.render(page.model, t);
  writeCountdowns();
  showChosen();
  const states = [earlier.state, chosen?.state].filter((state) => state !== null && state !== undefined);
  shell.renderConnection(states, Math.max(earlier.seq, run?.lastSeq ?? 0));
}

/**
 * @param {"nova" | "loomi"} mode
 * @param {string} prompt
 * @param {boolean} goesOn
 */
async function start(mode, prompt, goesOn) {
  if (!goesOn) page.sessionId = newSession();
  const { run_id } = await api.startRun(mode, prompt, page.sessionId).catch((error) => {
    // Who may start runs but read no session has runs that stand alone.
    if (error instanceof RequestError && error.status === 403) return api.startRun(mode, prompt);
    throw error;
  });
  session.set(page.sessionId);
  location.hash = run_id;
}

/** Begin a session anew that the server has forgotten, so that nothing is promised that does not come. */
async function renewSession() {
  const sessionId = page.sessionId;
  try {
    await api.readSessionState(sessionId);
  } catch (error) {
    const isForgotten = error instanceof RequestError && error.status === 410;
    if (isForgotten && sessionId === page.sessionId) change({ sessionId: newSession() });
  }
}

/** @returns {string} */
function newSession() {
  return `generations-${randomId()}`;
}

/** The address says which run is shown. */
function followAddress() {
  const runId = RUN_LINK.exec(location.hash)?.[1] ?? "";
  if (runId === page.runId && chosen) return;
  chosen?.close();
  chosen = null;
  change({ runId, run: null, runError: null });
  if (!runId) return;
  chosen = runFeed(runId, {
    onRun: (run) => change({ run, runError: null }),
    onFailed: (runError) => change({ runError }),
    onState: shell.onState,
  });
  void chosen.begin();
  isNewlyChosen = true;
}

/** Bring a run that was just chosen before the reader's eyes, as soon as there is something to be seen of it. */
function showChosen() {
  if (!isNewlyChosen || !page.run) return;
  isNewlyChosen = false;
  if (matchMedia("(min-width: 960px)").matches) byId("run").scrollTop = 0;
  else byId("run").scrollIntoView({ block: "start" });
}

function reconnectNow() {
  earlier.reconnectNow();
  chosen?.reconnectNow();
}

async function loadOlder() {
  try {
    const older = await api.readRuns(page.past.oldestSeq);
    change({ past: withPage(page.past, older) });
  } catch {
    // The button stays; the connection notice shows what is wrong.
  }
}

/** Show what is known of the model, and ask again until it is ready. @param {any} model */
function showModel(model) {
  change({ model });
  window.clearTimeout(modelTimer);
  if (model?.status !== "starting" && model?.status !== "fetching") return;
  modelTimer = window.setTimeout(() => api.readModel().then(showModel, () => showModel(model)), MODEL_MS);
}

window.addEventListener("hashchange", followAddress);
window.setInterval(render, CLOCK_MS);
window.setInterval(() => page.run?.status === "running" && views.run.tick(page.run), SECOND_MS);
await shell.start();
followAddress();
void earlier.begin();
