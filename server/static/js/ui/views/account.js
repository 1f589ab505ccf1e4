/**
 * The account: a button among the tools where the server has logins, and a small dialog with its scopes and the logout.
 *
 * @import { Access } from "../../lib/access.js"
 * @import { Translator } from "../i18n.js"
 */

import { LoginFailed } from "../../lib/access.js";
import { element, fill } from "../../lib/html.js";

/** @type {["read" | "append" | "answer" | "operate" | "manage", string][]} */
const VERBS = [
  ["read", "account.read"],
  ["append", "account.append"],
  ["answer", "account.answer"],
  ["operate", "account.operate"],
  ["manage", "account.manage"],
];

/**
 * @param {Access} access
 * @returns {{render: (t: Translator | undefined) => void}}
 */
export function accountView(access) {
  const initial = element("span", { class: "avatar", "aria-hidden": "true" });
  const name = element("span", { class: "wide", dir: "auto" });
  const open = element("button", { type: "button", class: "tool account", id: "account-open", "aria-haspopup": "dialog", hidden: true }, initial, name);
  document.querySelector(".bar .tools")?.append(open);
  const title = element("h2", { id: "account-title" });
  const facts = element("dl", { class: "fields" });
  const message = element("p", { class: "message", role: "alert" });
  const close = element("button", { type: "button", class: "secondary" });
  const logout = element("button", { type: "button", class: "primary", id: "logout" });
  const sheet = element("div", { class: "sheet" }, title, facts, message, element("div", { class: "buttons" }, close, logout));
  const dialog = element("dialog", { id: "account", class: "small-dialog", "aria-labelledby": "account-title" }, sheet);
  document.body.append(dialog);
  /** @type {Translator | undefined} */
  let t;

  open.addEventListener("click", () => {
    fill(message);
    dialog.showModal();
  });
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  logout.addEventListener("click", async () => {
    logout.disabled = true;
    try {
      await access.logOut();
      location.replace(location.pathname);
    } catch (error) {
      const status = error instanceof LoginFailed ? error.status : 0;
      const reason = status ? t?.text("error.status", { status: String(status) }) : t?.text("error.network");
      fill(message, t?.text("account.logout.failed", { message: reason ?? "" }));
    } finally {
      logout.disabled = false;
    }
  });

  return {
    render(translator) {
      t = translator;
      const session = access.session;
      open.hidden = access.state !== "in";
      if (access.state !== "in") dialog.close();
      if (!t || session?.name == null) return;
      const label = t.text("account.open", { name: session.name });
      initial.textContent = [...session.name][0]?.toUpperCase() ?? "?";
      name.textContent = session.name;
      open.setAttribute("aria-label", label);
      open.title = label;
      title.textContent = t.text("account.title");
      close.textContent = t.text("account.close");
      logout.textContent = t.text("account.logout");
      const nothing = t.text("account.nothing");
      const rights = VERBS.map(([verb, label]) => t && fact(t.text(label), session?.[verb]?.join("  ") || nothing));
      fill(
        facts,
        fact(t.text("account.name"), session.name),
        session.expires_at && fact(t.text("account.until"), t.date(session.expires_at)),
        ...rights,
      );
    },
  };
}

/**
 * @param {string} name
 * @param {string | undefined} value
 */
function fact(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, value));
}
