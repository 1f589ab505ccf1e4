/**
 * The login, on every page: a dialog while one is needed, and a button with the name and the logout.
 *
 * The page stays as it is behind the dialog. Somebody else's login, and a logout, begin it anew: nothing that one person
 * was shown is left for the next.
 *
 * @import { Access } from "../../lib/access.js"
 * @import { Translator } from "../i18n.js"
 */

import { LoginFailed } from "../../lib/access.js";
import { element, fill } from "../../lib/html.js";
import { accountView } from "./account.js";

/**
 * Put the dialog and the button into the page.
 *
 * @param {Access} access
 * @returns {{render: (t: Translator) => void}}
 */
export function loginView(access) {
  const title = element("h2", { id: "login-title" });
  const detail = element("p", { class: "muted", id: "login-detail" });
  const label = element("label", { for: "login-token", class: "term" });
  // A password field hides the token from onlookers. A password manager wants a name beside it.
  const server = element("input", { type: "text", autocomplete: "username", value: location.host, hidden: true, tabindex: -1 });
  const field = element("input", { type: "password", id: "login-token", autocomplete: "current-password", spellcheck: "false", autocapitalize: "off", "aria-describedby": "login-message", maxlength: 8192 });
  const message = element("p", { class: "message", id: "login-message", role: "alert" });
  const button = element("button", { type: "submit", class: "primary", id: "login-button" });
  const form = element("form", { class: "sheet", id: "login-form", method: "dialog", novalidate: true }, title, detail, server, label, field, message, element("div", { class: "buttons" }, button));
  const dialog = element("dialog", { id: "login", class: "small-dialog", "aria-labelledby": "login-title", "aria-describedby": "login-detail" }, form);
  document.body.append(dialog);
  const account = accountView(access);

  /** @type {Translator} */
  let t;
  /** @type {string | null} */
  let lastName = null;
  let isSending = false;

  const write = () => {
    title.textContent = t.text("login.title");
    detail.textContent = t.text(lastName === null ? "login.detail" : "login.expired");
    label.textContent = t.text("login.token");
    button.textContent = t.text(isSending ? "login.sending" : "login.button");
    button.disabled = isSending;
  };
  /** @param {string} text */
  const complain = (text) => {
    fill(message, text);
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  };
  const follow = () => {
    const isNeeded = access.state === "out";
    const name = access.session?.name ?? null;
    if (isNeeded && !dialog.open) {
      if (t) write();
      complain("");
      dialog.showModal();
      field.focus();
    } else if (!isNeeded && dialog.open) {
      field.value = "";
      dialog.close();
    }
    if (name !== null && lastName !== null && name !== lastName) location.replace(location.pathname);
    lastName = name ?? lastName;
    account.render(t);
  };
  const send = async () => {
    const token = field.value.trim();
    complain(token ? "" : t.text("login.blank"));
    if (!token || isSending) return field.focus();
    isSending = true;
    write();
    try {
      await access.logIn(token);
    } catch (error) {
      complain(explain(error, t));
      field.select();
    } finally {
      isSending = false;
      write();
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send();
  });
  field.addEventListener("input", () => complain(""));
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  // A browser may close it all the same at a second Escape.
  dialog.addEventListener("close", () => access.state === "out" && dialog.showModal());
  access.onChange(follow);

  return {
    render(translator) {
      t = translator;
      write();
      follow();
    },
  };
}

/**
 * @param {unknown} error
 * @param {Translator} t
 * @returns {string}
 */
function explain(error, t) {
  if (!(error instanceof LoginFailed)) return String(error);
  if (error.status === 401) return t.text("login.refused");
  if (error.status === 429) return t.text("login.throttled");
  const reason = error.message || (error.status ? t.text("error.status", { status: String(error.status) }) : t.text("error.network"));
  return t.text("login.failed", { message: reason });
}
