/**
 * What stands above the timeline: the chosen demand, or a welcome, or that there is no such demand.
 *
 * @import { Demand } from "../types.js"
 * @import { PageState } from "../state.js"
 * @import { Translator } from "../i18n.js"
 */

import { historyPath } from "../api.js";
import { element, icon, refill } from "../html.js";
import { statusBadge } from "./demands.js";
import { byId } from "./static-texts.js";

const COPIED_MS = 1600;

/**
 * @returns {{render: (state: PageState, t: Translator, now: number) => void}}
 */
export function detailView() {
  const head = byId("detail-head");
  /** @type {string | undefined} */
  let shownId;
  return {
    render(state, t, now) {
      byId("main").dataset.view = state.timeline ? "detail" : "list";
      const id = state.timeline?.id;
      const demand = id ? state.demands[id] : undefined;
      const isMissing = state.timeline?.history === "missing";
      const version = JSON.stringify([t.language, id, isMissing, demand, demand && t.ago(demand.updated_at, now)]);
      const isSqlOpen = id === shownId && Boolean(head.querySelector("details.sql")?.open);
      shownId = id;
      document.title = demand ? `${demand.surface_demand} — ToWow` : t.text("page.title");
      refill(head, version, () => {
        if (!id) return welcome(t);
        if (isMissing) return [back(t), missing(id, t)];
        return [back(t), demand ? summary(demand, t, now) : placeholder(id), sources(id, isSqlOpen, t)];
      });
    },
  };
}

/**
 * @param {Translator} t
 */
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
    element("h2", { id: "detail-title", dir: "auto" }, surface_demand),
    element(
      "p",
      { class: "facts muted" },
      element("time", { datetime: created_at }, t.text("detail.created", { time: t.date(created_at) })),
      user_id && user_id !== "anonymous" && element("span", { dir: "auto" }, t.text("detail.by", { user: user_id })),
      current_round > 1 && element("span", {}, t.text("detail.round", { round: current_round })),
      element("span", { title: t.date(updated_at) }, t.text("detail.updated", { time: t.ago(updated_at, now) })),
    ),
  );
}

/**
 * @param {string} id
 */
function placeholder(id) {
  return element(
    "header",
    { class: "summary" },
    element("p", { class: "facts" }, element("code", { class: "id" }, id)),
    element("h2", { id: "detail-title" }, element("span", { class: "skeleton line" })),
  );
}

/**
 * The two ways to read the same history without this page.
 *
 * @param {string} id
 * @param {boolean} isOpen
 * @param {Translator} t
 */
function sources(id, isOpen, t) {
  const sql = `SELECT seq, timestamp, event_type, source, payload\nFROM events\nWHERE stream = 'demand:${id}'\nORDER BY seq;`;
  const copy = element("button", { type: "button", class: "small" }, t.text("detail.copy"));
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(sql).catch(() => undefined);
    copy.textContent = t.text("detail.copied");
    window.setTimeout(() => (copy.textContent = t.text("detail.copy")), COPIED_MS);
  });
  return element(
    "div",
    { class: "sources" },
    element("a", { href: historyPath(id), target: "_blank", rel: "noopener" }, t.text("detail.raw"), icon("open")),
    element(
      "details",
      { class: "sql", open: isOpen },
      element("summary", {}, t.text("detail.sql")),
      element("div", { class: "code" }, element("p", {}, t.text("detail.sql.detail")), element("pre", { tabindex: 0 }, sql), copy),
    ),
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

/**
 * @param {Translator} t
 */
function welcome(t) {
  return element(
    "div",
    { class: "welcome" },
    element("h2", { id: "detail-title" }, t.text("welcome.title")),
    element("p", { class: "intro" }, t.text("welcome.detail")),
    element(
      "ol",
      { class: "steps" },
      ["one", "two", "three"].map((step) =>
        element("li", {}, element("b", {}, t.text(`welcome.step.${step}`)), element("span", {}, t.text(`welcome.step.${step}.detail`))),
      ),
    ),
  );
}
