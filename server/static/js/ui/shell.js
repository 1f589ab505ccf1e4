/**
 * What every page has around its content, and how it starts: language, theme, the login, and the connection of its streams.
 *
 * @import { Language } from "./i18n.js"
 * @import { StreamState } from "../lib/stream-options.js"
 */

import { access } from "../lib/access.js";
import { readStorage } from "../lib/environment.js";
import { element, fill, icon } from "../lib/html.js";
import { chooseLanguage, rememberedLanguage, rememberLanguage, Translator } from "./i18n.js";
import { needsLogin } from "../lib/login-needed.js";
import { currentTheme, toggleTheme } from "./theme.js";
import { connectionView } from "./views/connection.js";
import { loginView } from "./views/login.js";
import { byId, renderStaticTexts } from "./views/static-texts.js";

/** @type {StreamState} */
const CONNECTING = { name: "connecting", attempt: 0, nextTryAt: null, reason: null };
// From well to bad; the page is as well as the worst of its streams.
const ORDER = ["connected", "connecting", "polling", "reconnecting", "offline", "closed"];
const HIDDEN_MS = 200; // between two renderings of a tab that nobody looks at

/**
 * The state to show for several streams; one that ended because nothing will follow is well.
 *
 * @param {StreamState[]} states
 * @returns {StreamState}
 */
export function worst(states) {
  const counted = states.filter(({ name, reason }) => !(name === "closed" && reason === "ended"));
  return counted.reduce((found, state) => (ORDER.indexOf(state.name) > ORDER.indexOf(found.name) ? state : found), counted[0] ?? CONNECTING);
}

/**
 * @typedef {object} Shell
 * @property {Translator} t the present one
 * @property {Storage | null} storage
 * @property {() => void} plan renders soon, once for all that changes until then
 * @property {(state: StreamState) => void} onState for `onState` of each stream: asks for the login where one is needed, and renders soon
 * @property {(states: StreamState[], seq: number) => void} renderConnection
 * @property {(text: string) => void} say shows a text for a few seconds
 * @property {() => Promise<void>} start shows everything for the first time; resolves as soon as requests may succeed
 */

/**
 * @param {object} page
 * @param {Partial<Record<Language, Record<string, string>>>} [page.strings] its own texts
 * @param {string} page.main id of what the skip link leads to
 * @param {() => void} page.reconnectNow of all its streams, also after a new login
 * @param {() => void} page.render draws what changes with events; also after the language changed
 * @param {(t: Translator) => void} [page.translate] draws what changes with the language alone
 * @returns {Shell}
 */
export function shellOf({ strings = {}, main, reconnectNow, render, translate }) {
  const storage = readStorage();
  const connection = connectionView(reconnectNow);
  const login = loginView(access);
  let isRenderPlanned = false;
  /** @type {Shell} */
  const shell = {
    t: new Translator(chooseLanguage(rememberedLanguage(storage), navigator.languages), strings),
    storage,
    plan() {
      if (isRenderPlanned) return;
      isRenderPlanned = true;
      // A hidden tab gets no animation frames, but its title and lists should be right when it is looked at.
      if (document.visibilityState === "visible") requestAnimationFrame(renderNow);
      else setTimeout(renderNow, HIDDEN_MS);
    },
    onState(state) {
      if (needsLogin(state)) access.refused();
      shell.plan();
    },
    renderConnection(states, seq) {
      // The login dialog explains it better.
      connection.render(access.state === "out" || states.some(needsLogin) ? CONNECTING : worst(states), seq, shell.t);
    },
    say: (text) => connection.say(text),
    async start() {
      showLanguage();
      showPlace();
      await access.ready();
      let wasOut = false;
      access.onChange(() => {
        const isOut = access.state === "out";
        if (wasOut && !isOut) reconnectNow();
        wasOut = isOut;
        shell.plan();
      });
    },
  };

  function renderNow() {
    isRenderPlanned = false;
    render();
  }
  function showLanguage() {
    renderStaticTexts(shell.t);
    const button = byId("language");
    button.textContent = shell.t.text("language.switch");
    button.setAttribute("aria-label", shell.t.text("language.label"));
    button.lang = shell.t.language === "zh" ? "en" : "zh-CN";
    showTheme();
    login.render(shell.t);
    translate?.(shell.t);
    render();
  }
  function showTheme() {
    const theme = currentTheme();
    const button = byId("theme");
    const label = shell.t.text(theme === "dark" ? "theme.light" : "theme.dark");
    fill(button, icon(theme === "dark" ? "sun" : "moon"), element("span", { class: "visually-hidden" }, label));
    button.title = label;
  }

  // On a very narrow screen the row of pages scrolls: the present one should be in sight.
  function showPlace() {
    const present = /** @type {HTMLElement | null} */ (document.querySelector(".pages [aria-current]"));
    if (present?.parentElement) present.parentElement.scrollLeft = present.offsetLeft + present.offsetWidth - present.parentElement.clientWidth;
  }

  byId("language").addEventListener("click", () => {
    shell.t = new Translator(shell.t.language === "zh" ? "en" : "zh", strings);
    rememberLanguage(storage, shell.t.language);
    showLanguage();
  });
  byId("theme").addEventListener("click", () => {
    toggleTheme(storage);
    showTheme();
  });
  byId("skip").addEventListener("click", (/** @type {Event} */ event) => {
    event.preventDefault();
    byId(main).focus();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  return shell;
}

/**
 * A value that is kept for the next visit, if the browser lets.
 *
 * @param {Pick<Storage, "getItem" | "setItem"> | null} storage
 * @param {string} key
 * @returns {{get: () => string, set: (value: string) => void}} empty when nothing is kept
 */
export function remembered(storage, key) {
  return {
    get() {
      try {
        return storage?.getItem(key) ?? "";
      } catch {
        return "";
      }
    },
    set(value) {
      try {
        storage?.setItem(key, value);
      } catch {
        // It lasts for this visit.
      }
    },
  };
}
