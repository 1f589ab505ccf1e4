/**
 * The tools of a session, their results, and everything that happened, newest first.
 *
 * @import { Result, Room, Tool, ToolEvent } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { text } from "../../lib/fields.js";
import { element, fill, reconcile } from "../../lib/html.js";
import { visibleText } from "../../lib/inert-text.js";
import { clock, textOf } from "../../ui/views/pieces.js";
import { byId } from "../../ui/views/static-texts.js";
import { fieldList, shown } from "./values.js";

/** How the usual words for a status look; every other one is shown plainly. @type {Record<string, string>} */
const LOOKS = { executing: "busy", running: "busy", completed: "good", success: "good", failed: "bad", error: "bad", denied: "bad", pending: "waits", waiting: "waits" };

/** @returns {{render: (room: Room, t: Translator) => void}} */
export function toolroomView() {
  return {
    render({ tools, results, history, count }, t) {
      const named = Object.values(tools).sort((one, two) => two.seq - one.seq);
      reconcile(byId("live-list"), named, { key: ({ name }) => name, version: (tool) => t.language + JSON.stringify(tool), build: (tool) => toolCard(tool, t) });
      fill(byId("live-state"), named.length === 0 && element("p", { class: "muted nothing" }, t.text("live.empty")));
      reconcile(byId("result-list"), results, { key: ({ seq }) => seq, version: () => t.language, build: (result) => resultCard(result, t) });
      fill(byId("results-state"), results.length === 0 && element("p", { class: "muted nothing" }, t.text("results.empty")));
      reconcile(byId("history-list"), history, { key: ({ seq }) => seq, version: () => t.language, build: (event) => happened(event, t) });
      fill(byId("history-state"), history.length === 0 && element("p", { class: "muted nothing" }, t.text("history.empty")));
      byId("history-count").textContent = count ? t.count("history.count", count) : "";
    },
  };
}

/**
 * @param {Tool} tool
 * @param {Translator} t
 */
function toolCard({ name, status, since, parameters, risk }, t) {
  return element(
    "li",
    { class: "tool-card", dataset: { tool: name } },
    element(
      "div",
      { class: "prompt-head" },
      element("h3", { dir: "auto" }, visibleText(textOf(name, 200))),
      risk && risk !== "low" && element("span", { class: "badge", dataset: { risk } }, t.text(`risk.${risk}`)),
      element("span", { class: "badge", dataset: { look: LOOKS[status] ?? "plain" }, title: textOf(status, 200), dir: "auto" }, statusText(status, t)),
    ),
    element("p", { class: "facts muted" }, element("time", { datetime: since, title: t.date(since) }, t.text("live.since", { time: t.clock(since) }))),
    Object.keys(parameters).length > 0 && element("details", { class: "json" }, element("summary", {}, t.text("live.parameters")), fieldList(parameters)),
  );
}

/**
 * @param {string} status
 * @param {Translator} t
 * @returns {string} a known word in the reader's language, any other as it came
 */
function statusText(status, t) {
  return t.has(`tool.status.${status}`) ? t.text(`tool.status.${status}`) : textOf(status, 60);
}

/**
 * @param {Result} result
 * @param {Translator} t
 */
function resultCard({ kind, tool, isSuccess, value, timestamp }, t) {
  const key = kind === "error" ? "result.error" : isSuccess ? "result.success" : "result.failure";
  return element(
    "li",
    { class: "tool-card", dataset: { kind } },
    element(
      "div",
      { class: "prompt-head" },
      tool && element("h3", { dir: "auto" }, visibleText(textOf(tool, 200))),
      element("span", { class: "badge", dataset: { look: isSuccess ? "good" : "bad" } }, t.text(key)),
      clock(timestamp, t),
    ),
    element("div", { class: "result-value" }, shown(value, t.text("result.nothing"))),
  );
}

/**
 * @param {ToolEvent} event
 * @param {Translator} t
 */
function happened(event, t) {
  const { type, data, timestamp, seq } = event;
  return element(
    "li",
    { dataset: { type, seq } },
    element("p", { class: "happened-line" }, clock(timestamp, t), element("span", { dir: "auto" }, sentence(event, t))),
    text(data.reason) && data.reason !== "timed_out" && element("p", { class: "muted small-text", dir: "auto" }, textOf(data.reason, 500)),
  );
}

/**
 * @param {ToolEvent} event
 * @param {Translator} t
 * @returns {string}
 */
function sentence({ type, data }, t) {
  const tool = visibleText(textOf(text(data.tool_name), 120));
  const actor = visibleText(textOf(text(data.actor), 120)) || t.text("happened.somebody");
  switch (type) {
    case "tool_status":
      return t.text("happened.tool_status", { tool, status: statusText(text(data.status), t) });
    case "tool_result":
      return t.text(data.success === true ? "happened.tool_result.success" : "happened.tool_result.failure", { tool });
    case "permission_response_result":
      if (data.approved === true) return t.text("happened.approved", { actor });
      return data.actor === "timeout" ? t.text("happened.timed_out") : t.text("happened.rejected", { actor });
    case "permission_request":
    case "permission_cleared":
    case "result_cleared":
      return t.text(`happened.${type}`, { tool });
    case "error":
      return t.text("happened.error", { message: textOf(data.message, 300) });
    default:
      return t.text("happened.unknown", { type: textOf(type, 120) });
  }
}
