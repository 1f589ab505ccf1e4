/**
 * The page of the sessions: an operator's queue and conversation, and a visitor beside them, on the streams that both really have.
 *
 * The address says which session is chosen (`#name`); operator and visitor are remembered. What is on the screen is a
 * function of `page` and the language.
 *
 * @import { Queue, Session } from "./state.js"
 */

import * as api from "./api.js";
import { queueFeed, SessionFeeds } from "./feed.js";
import { EMPTY_QUEUE, foldQueue, foldSession, NAME, newSession, queueOf } from "./state.js";
import { remembered, shellOf } from "../ui/shell.js";
import { en, zh } from "./strings.js";
import { conversationView } from "./views/conversation.js";
import { panesView } from "./views/panes.js";
import { queueView } from "./views/queue.js";
import { failureText } from "../ui/failure-text.js";
import { newSessionName, visitorView } from "./views/visitor.js";

const CLOCK_MS = 20_000; // how often "3 minutes ago" is looked at again

const shell = shellOf({ strings: { en, zh }, main: "conversation", reconnectNow, render });
const operator = remembered(shell.storage, "towow.operator");
const visitor = remembered(shell.storage, "towow.visitor");
const page = {
  operatorId: isOperator(operator.get()) ? operator.get() : "",
  visitor: NAME.test(visitor.get()) ? visitor.get() : newSessionName(),
  chosen: "",
  /** @type {Queue} */
  queue: EMPTY_QUEUE,
  /** @type {"none" | "loading" | "ready" | "failed"} */
  queueStatus: "none",
  error: "",
  hasMore: false,
  /** @type {Record<string, Session>} */
  sessions: {},
};
/** @type {ReturnType<typeof queueFeed> | null} */
let waiting = null;

const feeds = new SessionFeeds({
  onBegin: (name) => {
    page.sessions[name] = newSession(name);
    shell.plan();
  },
  onMessage: (name, message) => {
    page.sessions[name] = foldSession(page.sessions[name], message);
    shell.plan();
  },
  onState: shell.onState,
});
const showPane = panesView("panes", "(min-width: 960px)");
const views = {
  queue: queueView({ use: useOperator, retry: () => waiting?.reconnectNow() }),
  conversation: conversationView({
    takeOver: (name) => api.takeOver(name, page.operatorId),
    release: (name, close) => api.release(name, page.operatorId, close),
    reply: (name, content, messageId) => api.say(name, { role: "operator", content, messageId, agentId: page.operatorId }),
  }),
  visitor: visitorView({
    use: useVisitor,
    write: (name, content, messageId) => api.say(name, { role: "user", content, messageId }),
    ask: (name, reason) => api.escalate(name, reason),
  }),
};

/**
 * @param {string} id
 * @returns {boolean}
 */
function isOperator(id) {
  return NAME.test(id) && id !== "queue";
}

function render() {
  const { t } = shell;
  const { operatorId, queue, queueStatus: status, error, hasMore, chosen } = page;
  const count = Object.keys(queue.waiting).length;
  document.title = `${count ? `(${t.number(count)}) ` : ""}${t.text("sessions.title")}`;
  views.queue.render({ operatorId, queue, status, error, hasMore, chosen }, t, Date.now());
  const isRefused = feeds.stateOf(chosen)?.reason === "forbidden";
  views.conversation.render(chosen ? (page.sessions[chosen] ?? newSession(chosen)) : null, isRefused, operatorId, t);
  views.visitor.render(page.sessions[page.visitor] ?? newSession(page.visitor), t);
  const states = [...feeds.states, ...(waiting?.state ? [waiting.state] : [])];
  shell.renderConnection(states, waiting?.seq ?? 0);
}

function reconnectNow() {
  feeds.reconnectNow();
  waiting?.reconnectNow();
}

/** @param {string} operatorId */
function useOperator(operatorId) {
  if (operatorId !== page.operatorId || !waiting) {
    operator.set(operatorId);
    Object.assign(page, { operatorId, queue: EMPTY_QUEUE, queueStatus: "loading", error: "", hasMore: false });
    waiting?.close();
    waiting = queueFeed(operatorId, {
      onLists: (asking, handled, hasMore) => {
        Object.assign(page, { queue: queueOf(asking, handled, operatorId), queueStatus: "ready", hasMore });
        shell.plan();
      },
      onFailed: (error) => {
        Object.assign(page, { queueStatus: "failed", error: failureText(error, shell.t) });
        shell.plan();
      },
      onMessage: (message) => {
        page.queue = foldQueue(page.queue, message, operatorId);
        shell.plan();
      },
      onState: shell.onState,
    });
    void waiting.begin();
  }
  render();
}

/** @param {string} name */
function useVisitor(name) {
  visitor.set(name);
  page.visitor = name;
  followSessions();
}

function followSessions() {
  feeds.follow([...new Set([page.visitor, page.chosen])].filter(Boolean));
  render();
}

function followAddress() {
  const name = location.hash.slice(1);
  page.chosen = NAME.test(name) ? name : "";
  if (page.chosen) showPane("conversation");
  followSessions();
}

await shell.start();
useVisitor(page.visitor);
if (page.operatorId) useOperator(page.operatorId);
followAddress();
window.addEventListener("hashchange", followAddress);
window.setInterval(render, CLOCK_MS);
