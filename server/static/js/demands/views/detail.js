/**
 * What stands above a negotiation: the chosen demand and where it belongs, or a welcome, or that there is no such demand.
 *
 * @import { Demand } from "../../lib/types.js"
 * @import { PageState } from "../state.js"
 * @import { Negotiation } from "../negotiation-types.js"
 * @import { Translator } from "../../ui/i18n.js"
 *
 * @typedef {object} Shown
 * @property {PageState} state
 * @property {Negotiation | null} negotiation at the position that is looked at
 * @property {boolean} isLive
 * @property {Translator} t
 * @property {number} now ms since 1970
 */

import { historyPath } from "../api.js";
import { isDemandId } from "../../lib/fields.js";
import { element, icon, refill } from "../../lib/html.js";
import { textOf } from "../../ui/views/pieces.js";
import { sources } from "../../ui/views/sources.js";
import { statusBadge } from "./list.js";
import { byId } from "../../ui/views/static-texts.js";

const MOST_PARENTS = 8;

/**
 * @param {(demand: Demand) => void} cancel asks whether to end a negotiation
 * @returns {{render: (shown: Shown) => void}}
 */
export function detailView(cancel) {
  const head = byId("detail-head");
  /** @type {string | undefined} */
  let shownId;
  return {
    render({ state, negotiation, isLive, t, now }) {
      const id = state.timeline?.id;
      const isMissing = state.timeline?.history === "missing";
      byId("main").dataset.view = id ? "detail" : "list";
      byId("story").hidden = !id || isMissing;
      const known = id ? state.demands[id] : undefined;
      // While the history loads its fold is behind the summary; in the past the summary is ahead of the fold.
      const isFolded = negotiation?.wanted && (!isLive || state.timeline?.history === "ready");
      const demand = known && isFolded ? { ...known, phase: negotiation.phase, status: negotiation.status, current_round: negotiation.round } : known;
      const parents = demand ? parentsOf(state, demand) : [];
      const canCancel = Boolean(demand && isLive && demand.status === "processing" && !demand.parent_demand_id);
      const version = JSON.stringify([t.language, id, isMissing, demand, demand && t.ago(demand.updated_at, now), parents, canCancel]);
      const isSqlOpen = id === shownId && Boolean(head.querySelector("details.sql")?.open);
      shownId = id;
      document.title = demand ? `${demand.surface_demand} — ToWow` : t.text("page.title");
      const isFocused = head.contains(document.activeElement) && document.activeElement?.id === "cancel-open";
      const query = `SELECT seq, timestamp, what FROM negotiation_timeline WHERE demand_id = '${id}' ORDER BY seq`; // ids need no quoting
      refill(head, version, () => {
        if (!id) return welcome(t);
        if (isMissing) return [back(t), missing(id, t)];
        const onCancel = canCancel && demand ? () => cancel(demand) : null;
        return [
          back(t),
          parents.length > 0 && breadcrumb(parents, id, t),
          demand ? summary(demand, t, now) : placeholder(id),
          element(
            "div",
            { class: "sources" },
            sources({ path: historyPath(id), query, isOpen: isSqlOpen }, t),
            onCancel && element("button", { type: "button", class: "link bad", id: "cancel-open", onclick: onCancel }, t.text("cancel.open")),
          ),
        ];
      });
      if (isFocused) document.getElementById("cancel-open")?.focus({ preventScroll: true });
    },
  };
}

/**
 * @param {PageState} state
 * @param {Demand} demand
 * @returns {{id: string, title: string}[]} those that it was started by, the root first
 */
function parentsOf({ demands }, demand) {
  /** @type {{id: string, title: string}[]} */
  const parents = [];
  for (let id = demand.parent_demand_id; id && parents.length < MOST_PARENTS; id = demands[id]?.parent_demand_id) {
    parents.unshift({ id, title: demands[id]?.surface_demand ?? id });
  }
  return parents;
}

/**
 * @param {{id: string, title: string}[]} parents
 * @param {string} id
 * @param {Translator} t
 */
function breadcrumb(parents, id, t) {
  return element(
    "nav",
    { class: "breadcrumb", "aria-label": t.text("detail.parents") },
    element(
      "ol",
      {},
      parents.map((parent) => element("li", {}, element("a", { href: isDemandId(parent.id) ? `#${parent.id}` : "#", dir: "auto", title: parent.id }, textOf(parent.title, 60)))),
      element("li", {}, element("code", { "aria-current": "page" }, id)),
    ),
  );
}

/** @param {Translator} t */
function back(t) {
  return element("a", { class: "back", href: "#" }, icon("back"), t.text("demands.back"));
}

/**
 * @param {Demand} demand
 * @param {Translator} t
 * @param {number} now
 */
function summary(demand, t, now) {
  const { demand_id, surface_demand, created_at, updated_at, user_id, current_round } = demand;
  return element(
    "header",
    { class: "summary" },
    element("p", { class: "facts" }, statusBadge(demand, t), element("code", { class: "id" }, demand_id)),
    element("h2", { id: "detail-title", dir: "auto" }, textOf(surface_demand, 400)),
    element(
      "p",
      { class: "facts muted" },
      element("time", { datetime: created_at }, t.text("detail.created", { time: t.date(created_at) })),
      user_id && user_id !== "anonymous" && element("span", { dir: "auto" }, t.text("detail.by", { user: textOf(user_id, 120) })),
      current_round > 1 && element("span", {}, t.text("detail.round", { round: current_round })),
      element("span", { title: t.date(updated_at) }, t.text("detail.updated", { time: t.ago(updated_at, now) })),
    ),
  );
}

/** @param {string} id */
function placeholder(id) {
  return element(
    "header",
    { class: "summary" },
    element("p", { class: "facts" }, element("code", { class: "id" }, id)),
    element("h2", { id: "detail-title" }, element("span", { class: "skeleton line" }), element("span", { class: "visually-hidden" }, id)),
  );
}

/**
 * @param {string} id
 * @param {Translator} t
 */
function missing(id, t) {
  return element(
    "div",
    { class: "empty", role: "alert" },
    element("h2", { id: "detail-title" }, t.text("detail.missing", { id })),
    element("p", {}, t.text("detail.missing.detail")),
  );
}

/** @param {Translator} t */
function welcome(t) {
  return element(
    "div",
    { class: "welcome" },
    element("h2", { id: "detail-title" }, t.text("welcome.title")),
    element("p", { class: "intro" }, t.text("welcome.detail")),
    element(
      "ol",
      { class: "steps" },
      ["one", "two", "three", "four"].map((step) =>
        element("li", {}, element("b", {}, t.text(`welcome.step.${step}`)), element("span", {}, t.text(`welcome.step.${step}.detail`))),
      ),
    ),
  );
}
