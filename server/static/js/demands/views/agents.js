/**
 * Who is registered and what they can do: a dialog, read anew each time it opens, searchable.
 *
 * @import { Agent } from "../../lib/types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { readAgents } from "../api.js";
import { element, fill, reconcile } from "../../lib/html.js";
import { failureText } from "../../ui/failure-text.js";
import { byId } from "../../ui/views/static-texts.js";

/**
 * Agents whose name, id, description or a capability contains every word of the query.
 *
 * @param {Agent[]} agents
 * @param {string} query
 * @returns {Agent[]}
 */
export function search(agents, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return agents.filter(({ agent_id, name, description, capabilities }) => {
    const text = [agent_id, name, description, ...(capabilities ?? [])].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** @returns {{render: (t: Translator) => void}} */
export function agentsView() {
  const dialog = byId("agents");
  const field = byId("agents-search");
  const list = byId("agents-list");
  const status = byId("agents-state");
  /** @type {Agent[] | null} */
  let agents = null;
  /** @type {Translator} */
  let t;

  const show = () => {
    const found = search(agents ?? [], field.value);
    reconcile(list, found, { key: (agent) => agent.agent_id, version: (agent) => t.language + JSON.stringify(agent), build: (agent) => card(agent, t) });
    byId("agents-count").textContent = agents ? t.count("agents.count", found.length) : "";
    if (!agents || found.length) fill(status);
    else fill(status, element("p", { class: "muted" }, agents.length ? t.text("agents.nothing", { query: field.value }) : t.text("agents.none")));
  };
  const load = async () => {
    if (!agents) fill(status, element("p", { class: "muted" }, t.text("agents.loading")));
    try {
      ({ agents } = await readAgents());
      show();
    } catch (error) {
      fill(status, element("p", { class: "problem" }, t.text("agents.failed", { message: failureText(error, t) })));
    }
  };

  byId("agents-open").addEventListener("click", () => {
    dialog.showModal();
    void load();
  });
  byId("agents-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    if (event.target === dialog) dialog.close();
  });
  field.addEventListener("input", show);

  return {
    render(translator) {
      t = translator;
      byId("agents-open").setAttribute("aria-label", t.text("agents.open"));
      if (agents) show();
    },
  };
}

/**
 * @param {Agent} agent
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function card({ agent_id, name, capabilities, description, sample }, t) {
  return element(
    "li",
    { class: "agent" },
    element("span", { class: "avatar", "aria-hidden": "true" }, [...(name || agent_id)][0]?.toUpperCase() ?? "?"),
    element(
      "div",
      {},
      element("p", { class: "name" }, element("b", { dir: "auto" }, name || agent_id), element("code", {}, agent_id), sample && element("span", { class: "badge" }, t.text("agents.sample"))),
      description && element("p", { class: "muted", dir: "auto" }, description),
      element("ul", { class: "chips" }, (capabilities ?? []).map((capability) => element("li", { class: "chip plain", dir: "auto" }, capability))),
    ),
  );
}
