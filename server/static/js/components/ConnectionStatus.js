/**
 * Source 002's `ConnectionStatus`: how the connection is, when it is tried again, and what has been counted, for people.
 *
 * It needs nothing but a node to stand in. Its style sheet is beside it and is linked once per page. The countdown ticks
 * outside of the live region, so that a screen reader hears changes of state only.
 *
 * @import { ServiceState, Stats } from "../services/options.js"
 *
 * @typedef {object} StatusOptions
 * @property {Element | null} container
 * @property {boolean} [showStats] default true
 * @property {boolean} [showReconnectTimer] default true
 * @property {string} [lang] `zh…` or anything else for English; default: the page's
 */

import { element, setText } from "../lib/html.js";

const TICK_MS = 250;
const STYLE = new URL("./ConnectionStatus.css", import.meta.url).href;

const STRINGS = {
  en: {
    disconnected: "Not connected",
    connecting: "Connecting",
    connected: "Connected",
    reconnecting: "Connection lost",
    offline: "Offline",
    closed: "Closed",
    attempt: (/** @type {number} */ attempt) => `attempt ${attempt}`,
    next: (/** @type {number} */ seconds) => `again in ${seconds} s`,
    now: "again now",
    eventsReceived: "Events",
    reconnects: "Reconnects",
    errors: "Errors",
    gapsDetected: "Gaps found",
    gapsRecovered: "Gaps closed",
    duplicates: "Duplicates dropped",
  },
  zh: {
    disconnected: "未连接",
    connecting: "正在连接",
    connected: "已连接",
    reconnecting: "连接中断",
    offline: "离线",
    closed: "已关闭",
    attempt: (/** @type {number} */ attempt) => `第 ${attempt} 次尝试`,
    next: (/** @type {number} */ seconds) => `${seconds} 秒后重连`,
    now: "正在重连",
    eventsReceived: "事件",
    reconnects: "重连次数",
    errors: "错误",
    gapsDetected: "发现缺口",
    gapsRecovered: "补齐缺口",
    duplicates: "丢弃的重复事件",
  },
};
/** @type {(keyof Stats)[]} */
const COUNTED = ["eventsReceived", "reconnects", "errors", "gapsDetected", "gapsRecovered", "duplicates"];

export class ConnectionStatus {
  #texts;
  #showsTimer;
  #root;
  #label = element("span", { class: "connection-status-label" });
  #timer = element("span", { class: "connection-status-timer" });
  /** @type {Map<keyof Stats, HTMLElement>} */
  #counts = new Map();
  /** @type {any} */
  #ticker = null;
  #nextTryAt = 0;
  #attempt = 0;

  /** @param {StatusOptions} options */
  constructor({ container, showStats = true, showReconnectTimer = true, lang = document.documentElement.lang }) {
    if (!container) throw new TypeError("ConnectionStatus needs a container");
    const language = lang.toLowerCase().startsWith("zh") ? "zh" : "en";
    this.#texts = STRINGS[language];
    this.#showsTimer = showReconnectTimer;
    const dot = element("span", { class: "connection-status-dot", "aria-hidden": "true" });
    const state = element("span", { class: "connection-status-state", role: "status" }, dot, this.#label);
    this.#root = element("div", { class: "connection-status", lang: language === "zh" ? "zh-CN" : "en" }, state, this.#timer);
    if (showStats) this.#root.append(this.#statsList());
    linkStyle();
    container.append(this.#root);
    this.setState("disconnected");
  }

  /**
   * Show a state; with a delay, the time until the next try is counted down.
   *
   * @param {ServiceState} state
   * @param {{reconnectAttempt?: number, reconnectDelay?: number}} [details] the delay in milliseconds
   */
  setState(state, { reconnectAttempt = 0, reconnectDelay = 0 } = {}) {
    this.#stop();
    this.#root.dataset.state = state;
    setText(this.#label, String(this.#texts[state] ?? state));
    this.#attempt = reconnectAttempt;
    this.#nextTryAt = Date.now() + reconnectDelay;
    const isCounting = this.#showsTimer && state === "reconnecting";
    this.#timer.hidden = !isCounting;
    if (!isCounting) return setText(this.#timer, "");
    this.#tick();
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    return undefined;
  }

  /** Show the counters of `getStats()`. @param {Partial<Stats>} stats */
  setStats(stats) {
    for (const [name, node] of this.#counts) setText(node, String(stats[name] ?? 0));
  }

  /** Take it off the page; no timer is left. */
  destroy() {
    this.#showsTimer = false;
    this.#stop();
    this.#root.remove();
  }

  #stop() {
    clearInterval(this.#ticker);
    this.#ticker = null;
  }

  #tick() {
    const { attempt, next, now } = this.#texts;
    const seconds = Math.ceil((this.#nextTryAt - Date.now()) / 1000);
    const when = seconds > 0 ? next(seconds) : now;
    setText(this.#timer, this.#attempt > 0 ? `${when} · ${attempt(this.#attempt)}` : when);
  }

  #statsList() {
    const list = element("dl", { class: "connection-status-stats" });
    for (const name of COUNTED) {
      const count = element("dd", { dataset: { stat: name } }, "0");
      this.#counts.set(name, count);
      list.append(element("div", {}, element("dt", {}, String(this.#texts[name])), count));
    }
    return list;
  }
}


function linkStyle() {
  const links = [...document.querySelectorAll('link[rel="stylesheet"]')];
  if (links.some((link) => /** @type {HTMLLinkElement} */ (link).href === STYLE)) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = STYLE;
  document.head.append(link);
}
