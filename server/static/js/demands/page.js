/**
 * The page: reads the snapshot, follows one shared stream from there, and wires state, views and the address together.
 *
 * Everything on the screen is a function of `state`, `connection` and the language; nothing is kept in the document.
 * The page never reloads itself: after a reset it reads the snapshot again.
 *
 * @import { Translator } from "../ui/i18n.js"
 * @import { Action, PageState } from "./state.js"
 * @import { Story } from "./story.js"
 */

import { access } from "../lib/access.js";
import { readDemands, submitDemand } from "./api.js";
import { demandsFeed } from "./feed.js";
import { historyReader } from "./history.js";
import { shellOf } from "../ui/shell.js";
import { EMPTY, reduce } from "./state.js";
import { en, zh } from "./strings.js";
import { chronicler, indexAt, storyteller, unreadBranches } from "./story.js";
import { agentsView } from "./views/agents.js";
import { cancelView } from "./views/cancel.js";
import { countdowns } from "../ui/views/countdown.js";
import { demandsView } from "./views/list.js";
import { detailView } from "./views/detail.js";
import { negotiationView } from "./views/negotiation.js";
import { failureText } from "../ui/failure-text.js";
import { replayView } from "./views/replay.js";
import { byId } from "../ui/views/static-texts.js";
import { submitView } from "./views/submit.js";
import { tabsView } from "./views/tabs.js";
import { timelineView } from "./views/timeline.js";

const CLOCK_MS = 20_000; // how often "3 minutes ago" is looked at again
const DEMAND_LINK = /^#(d-[A-Za-z0-9._:-]{1,119})$/;

const shell = shellOf({ strings: { en, zh }, main: "detail", reconnectNow: () => feed.reconnectNow(), render, translate });
/** @type {PageState} */
let state = EMPTY;
const describe = (/** @type {unknown} */ error) => failureText(error, shell.t);
const feed = demandsFeed(shell.storage, {
  dispatch,
  describe,
  onReset() {
    shell.say(shell.t.text("connection.reset"));
    void loadHistory();
  },
  onState(connection) {
    shell.onState(connection);
    const hasFailed = [state.timeline, ...Object.values(state.branches)].some((timeline) => timeline?.history === "failed");
    if (connection.name === "connected" && hasFailed) void loadHistory();
  },
});
const histories = historyReader({ state: () => state, dispatch, describe });
const tellNow = storyteller();
const tellPast = storyteller();
const chronicle = chronicler();
const writeCountdowns = countdowns(() => shell.t);
const cancelDialog = cancelView();
const views = {
  agents: agentsView(),
  demands: demandsView({ retry: () => feed.reconnectNow(), older: loadOlder }),
  detail: detailView(({ demand_id, user_id }) => cancelDialog.open(demand_id, user_id)),
  negotiation: negotiationView({
    retryChosen: loadHistory,
    retryBranch: (id) => void histories.readBranch(id),
    showPanel: () => chooseTab("negotiation"),
  }),
  replay: replayView((index) => dispatch({ type: "replay", seq: index === null ? null : (chronicle(state)[index]?.seq ?? null) })),
  submit: submitView(submit),
  timeline: timelineView(loadHistory),
};
const chooseTab = tabsView(shell.storage, render);

/** @param {Action} action */
function dispatch(action) {
  state = reduce(state, action);
  shell.plan();
}

function render() {
  const { t } = shell;
  const now = Date.now();
  const story = tellNow(state);
  const positions = chronicle(state);
  const isLive = state.replaySeq === null;
  const shown = state.replaySeq === null ? story : tellPast(state, state.replaySeq);
  const index = state.replaySeq === null ? positions.length - 1 : indexAt(positions, state.replaySeq);
  views.demands.render(state, t, now);
  views.detail.render({ state, negotiation: shown?.negotiation ?? null, isLive, t, now });
  views.negotiation.render(state, shown, positions[index], t);
  views.timeline.render(state, t);
  views.replay.render(
    story && state.timeline?.history !== "missing"
      ? { positions, index, isLive, hasEnded: story.negotiation.outcome !== null, rootId: story.negotiation.id, nameOf: (id) => story.negotiation.names.get(id) ?? id, t }
      : null,
  );
  writeCountdowns();
  shell.renderConnection(feed.state ? [feed.state] : [], feed.seq || state.headSeq);
  if (story) readBranches(story);
}

/** @param {Translator} t */
function translate(t) {
  views.submit.translate(t);
  views.agents.render(t);
  cancelDialog.render(t);
}

/** Read the histories of sub-negotiations that have come into sight. @param {Story} story */
function readBranches(story) {
  for (const id of unreadBranches(state, story)) {
    dispatch({ type: "branch", id });
    void histories.readBranch(id);
  }
}

async function loadOlder() {
  try {
    dispatch({ type: "older", page: await readDemands(state.oldestSeq) });
  } catch {
    // The button stays; the connection notice shows what is wrong.
  }
}

/** Read the chosen demand's history, again if need be; its sub-negotiations follow when they come into sight. */
async function loadHistory() {
  await access.ready();
  if (!state.timeline) return;
  for (const id of Object.keys(state.branches)) void histories.readBranch(id);
  void histories.readChosen(state.timeline.id);
}

/**
 * @param {string} rawInput
 * @param {boolean} mustConfirm
 */
async function submit(rawInput, mustConfirm) {
  const { demand_id } = await submitDemand(rawInput, mustConfirm);
  location.hash = demand_id;
}

/** The address says which demand is chosen: `#d-1a2b3c4d`, or none. */
function followAddress() {
  const id = DEMAND_LINK.exec(location.hash)?.[1] ?? null;
  if (id === (state.timeline?.id ?? null)) return;
  dispatch({ type: "choose", id });
  const isNarrow = !matchMedia("(min-width: 960px)").matches;
  if (isNarrow) window.scrollTo({ top: 0 });
  byId("detail").scrollTop = 0;
  if (!id) return;
  if (isNarrow) byId("detail").focus({ preventScroll: true });
  loadHistory();
}

window.addEventListener("hashchange", followAddress);
window.setInterval(render, CLOCK_MS);
void shell.start();
followAddress();
void feed.begin();
