/**
 * What every page but the first has around its content: language, theme, the login, and the connection of its streams.
 *
 * @import { Language } from "./i18n.js"
 * @import { StreamState } from "./stream-options.js"
 */

import { access } from "./access.js";
import { readStorage } from "./environment.js";
import { element, fill, icon } from "./html.js";
import { chooseLanguage, rememberedLanguage, rememberLanguage, Translator } from "./i18n.js";
import { needsLogin } from "./login-needed.js";
import { currentTheme, toggleTheme } from "./theme.js";
import { connectionView } from "./views/connection.js";
import { loginView } from "./views/login.js";
import { byId, renderStaticTexts } from "./views/static-texts.js";

/** @type {StreamState} */
const CONNECTING = { name: "connecting", attempt: 0, nextTryAt: null, reason: null };
// From well to bad; the page is as well as the worst of its streams.
const ORDER = ["connected", "connecting", "polling", "reconnecting", "offline", "closed"];

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
 * @property {(states: StreamState[], seq: number) => void} renderConnection
 * @property {() => void} start shows everything for the first time
 */

/**
 * @param {object} page
 * @param {Record<Language, Record<string, string>>} page.strings its own texts
 * @param {string} page.main id of what the skip link leads to
 * @param {() => void} page.reconnectNow
 * @param {() => void} page.render after the language changed
 * @returns {Shell}
 */
export function shellOf({ strings, main, reconnectNow, render }) {
  const storage = readStorage();
  const connection = connectionView(reconnectNow);
  const login = loginView(access);
  /** @type {Shell} */
  const shell = {
    t: new Translator(chooseLanguage(rememberedLanguage(storage), navigator.languages), strings),
    storage,
    renderConnection(states, seq) {
      // The login dialog says it better.
      connection.render(access.state === "out" || states.some(needsLogin) ? CONNECTING : worst(states), seq, shell.t);
    },
    start: showLanguage,
  };

  function showLanguage() {
    renderStaticTexts(shell.t);
    const button = byId("language");
    button.textContent = shell.t.text("language.switch");
    button.setAttribute("aria-label", shell.t.text("language.label"));
    button.lang = shell.t.language === "zh" ? "en" : "zh-CN";
    showTheme();
    login.render(shell.t);
    render();
  }
  function showTheme() {
    const theme = currentTheme();
    const button = byId("theme");
    const label = shell.t.text(theme === "dark" ? "theme.light" : "theme.dark");
    fill(button, icon(theme === "dark" ? "sun" : "moon"), element("span", { class: "visually-hidden" }, label));
    button.title = label;
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
