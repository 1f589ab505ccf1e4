/**
 * The messages of a session as a list, the reader's own on the right; long ones show their end first.
 *
 * @import { Entry, Session } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, fill, reconcile } from "../../lib/html.js";
import { clock } from "../../ui/views/pieces.js";

const SHOWN = 200; // entries at once
const AT_END_PX = 60;

/**
 * @param {Session} session
 * @param {Translator} t
 * @returns {HTMLElement} its status in words
 */
export function sessionBadge({ status, agentId }, t) {
  return element("span", { class: "badge", dataset: { session: status }, dir: "auto" }, t.text(`session.${status}`, { agent: agentId }));
}

/**
 * @param {HTMLElement} log the element that scrolls; holds nothing else
 * @param {string} own role of the reader: user or operator
 * @returns {{render: (session: Session, t: Translator) => void}}
 */
export function chatLog(log, own) {
  const top = element("div", { class: "chat-top" });
  const list = element("ol", { class: "chat" });
  log.append(top, list);
  let name = "";
  let shown = SHOWN;
  /** @type {{session: Session, t: Translator} | null} */
  let last = null;

  const render = () => {
    if (!last) return;
    const { session, t } = last;
    const isNew = session.name !== name;
    if (isNew) shown = SHOWN;
    name = session.name;
    const isAtEnd = isNew || log.scrollHeight - log.scrollTop - log.clientHeight < AT_END_PX;
    const hidden = Math.max(0, session.entries.length - shown);
    reconcile(list, session.entries.slice(hidden), {
      key: ({ seq }) => `${name}/${seq}`,
      version: () => t.language,
      build: (entry) => (entry.kind === "message" ? bubble(entry, own, t) : change(entry, t)),
    });
    const count = Math.min(hidden, SHOWN);
    const more = () => {
      shown += SHOWN;
      render();
    };
    fill(
      top,
      hidden > 0 && element("button", { type: "button", class: "quiet", onclick: more }, t.text("chat.earlier", { count })),
      session.entries.length === 0 && element("p", { class: "muted small-text" }, t.text("chat.empty")),
    );
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  };
  return {
    render(session, t) {
      last = { session, t };
      render();
    },
  };
}

/**
 * @param {Entry} entry
 * @param {string} own
 * @param {Translator} t
 */
function bubble({ role, agentId, text, timestamp }, own, t) {
  const who = element("span", { dir: "auto" }, agentId || t.text(`role.${role}`));
  return element(
    "li",
    { class: "said-by", dataset: { role, own: String(role === own) } },
    element("p", { class: "who-when" }, who, clock(timestamp, t)),
    element("p", { class: "bubble as-written", dir: "auto" }, text),
  );
}

/**
 * @param {Entry} entry
 * @param {Translator} t
 */
function change({ role: status, agentId, text, timestamp }, t) {
  const [named, unnamed] = status === "waiting_agent" ? [`change.${status}.reason`, `change.${status}`] : [`change.${status}`, `change.${status}.nobody`];
  const isNamed = status === "waiting_agent" ? text : agentId;
  const key = isNamed || !t.has(unnamed) ? named : unnamed;
  return element("li", { class: "changed", dataset: { status } }, element("span", { dir: "auto" }, t.text(key, { agent: agentId, reason: text })), clock(timestamp, t));
}
