/**
 * The list of demands, newest first, each a link that chooses it; loading, empty and error states included.
 *
 * @import { Demand } from "../../lib/types.js"
 * @import { PageState } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, reconcile, refill } from "../../lib/html.js";
import { hasNews, newSinceLastVisit } from "../state.js";
import { byId } from "../../ui/views/static-texts.js";
import { problem, empty } from "../../ui/views/pieces.js";

/**
 * A status as a badge; the word carries the meaning, the colour helps.
 *
 * @param {Demand} demand
 * @param {Translator} t
 * @returns {HTMLElement}
 */
export function statusBadge(demand, t) {
  const key = demand.status === "processing" ? `phase.${demand.phase}` : `status.${demand.status}`;
  const text = t.has(key) ? t.text(key) : t.has(`status.${demand.status}`) ? t.text(`status.${demand.status}`) : demand.status;
  return element("span", { class: "badge", dataset: { status: demand.status } }, text);
}

/**
 * @param {{retry: () => void, older: () => Promise<void>}} actions
 * @returns {{render: (state: PageState, t: Translator, now: number) => void}}
 */
export function demandsView({ retry, older }) {
  const list = byId("demand-list");
  const more = byId("older");
  more.addEventListener("click", async () => {
    more.disabled = true;
    await older();
    more.disabled = false;
  });
  list.addEventListener("keydown", moveFocus);

  return {
    render(state, t, now) {
      const chosen = state.timeline && rootOf(state, state.timeline.id);
      reconcile(list, state.order, {
        key: (id) => id,
        version: (id) => {
          const { status, phase, surface_demand, updated_at } = state.demands[id];
          const ago = t.ago(updated_at, now);
          return JSON.stringify([t.language, status, phase, surface_demand, ago, id === chosen, hasNews(state, id)]);
        },
        build: (id) => row(state, state.demands[id], id === chosen, t, now),
      });
      more.hidden = !state.hasMore;
      const count = newSinceLastVisit(state);
      byId("since-visit").textContent = count ? t.count("demands.since", count) : "";
      const version = JSON.stringify([state.status, state.error, state.order.length === 0, t.language]);
      refill(byId("demands-state"), version, () => stateOf(state, t, retry));
    },
  };
}

/**
 * The listed demand that a sub-negotiation belongs to.
 *
 * @param {PageState} state
 * @param {string} id
 * @returns {string}
 */
function rootOf({ demands }, id) {
  let root = id;
  for (let step = 0; step < 8; step += 1) root = demands[root]?.parent_demand_id ?? root;
  return root;
}

/**
 * @param {PageState} state
 * @param {Translator} t
 * @param {() => void} retry
 */
function stateOf(state, t, retry) {
  if (state.status === "failed") {
    return problem(t.text("demands.failed", { message: state.error }), retry, t);
  }
  if (state.status === "loading") {
    return element(
      "div",
      { class: "skeletons", role: "status" },
      element("span", { class: "visually-hidden" }, t.text("demands.loading")),
      [1, 2, 3].map(() => element("div", { class: "skeleton" })),
    );
  }
  if (state.order.length) return null;
  return empty(t.text("demands.empty"), t.text("demands.empty.detail"));
}

/**
 * @param {PageState} state
 * @param {Demand} demand
 * @param {boolean} isChosen
 * @param {Translator} t
 * @param {number} now
 * @returns {HTMLElement}
 */
function row(state, demand, isChosen, t, now) {
  const news = hasNews(state, demand.demand_id) && element("span", { class: "new", title: t.text("demands.new") });
  const link = element(
    "a",
    { href: `#${demand.demand_id}`, class: "demand", "aria-current": isChosen ? "true" : false },
    element("span", { class: "what", dir: "auto" }, demand.surface_demand),
    element(
      "span",
      { class: "facts" },
      statusBadge(demand, t),
      element("time", { datetime: demand.updated_at, title: t.date(demand.updated_at) }, t.ago(demand.updated_at, now)),
      news,
      news && element("span", { class: "visually-hidden" }, t.text("demands.new")),
    ),
  );
  return element("li", { dataset: { demand: demand.demand_id } }, link);
}

/** Arrow keys walk through the list, as in any list of choices. @param {KeyboardEvent} event */
function moveFocus(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const list = /** @type {HTMLElement} */ (event.currentTarget);
  const links = [...list.querySelectorAll("a")];
  const place = links.indexOf(/** @type {HTMLAnchorElement} */ (document.activeElement));
  if (!step || place < 0) return;
  event.preventDefault();
  links[Math.min(links.length - 1, Math.max(0, place + step))].focus();
}
