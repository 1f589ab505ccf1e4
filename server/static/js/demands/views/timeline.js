/**
 * The events of the chosen demand, oldest first, each once; grows at the end while the reader looks on.
 *
 * Rows that are there stay untouched, so an open JSON, a selection or the focus survives new events. Who reads at the
 * end is kept at the end; a reader further up sees how much arrived below.
 *
 * @import { StoredEvent } from "../../lib/types.js"
 * @import { PageState, Timeline } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 *
 * @typedef {{kind: "event", event: StoredEvent, previous: StoredEvent | undefined} | {kind: "divider"}} Row
 */

import { element, reconcile, refill } from "../../lib/html.js";
import { isNew } from "../state.js";
import { indexAt } from "../story.js";
import { eventName } from "../sentence.js";
import { renderPayload } from "./payload.js";
import { scroller } from "./scrolling.js";
import { byId } from "../../ui/views/static-texts.js";
import { waiting, problem } from "../../ui/views/pieces.js";

const WINDOW_EVENTS = 1000; // rows in the document at first; more on request
const AT_END_PX = 140; // how far from the end still counts as looking at it

/**
 * @param {() => void} retry loads the history again
 * @returns {{render: (state: PageState, t: Translator) => void}} `state.replaySeq` hides what came later
 */
export function timelineView(retry) {
  const list = byId("timeline");
  const latest = byId("latest");
  let id = "";
  let shownEvents = WINDOW_EVENTS;
  let renderedEvents = 0;
  let unseen = 0;
  /** @type {{state: PageState, t: Translator} | null} */
  let last = null;

  const showLatest = () => {
    latest.hidden = unseen === 0;
    if (last && unseen) latest.textContent = `↓ ${last.t.count("timeline.latest", unseen)}`;
  };
  latest.addEventListener("click", () => scroller().scrollTo({ top: scroller().scrollHeight }));
  const onScroll = () => {
    if (!unseen || !isAtEnd()) return;
    unseen = 0;
    showLatest();
  };
  window.addEventListener("scroll", onScroll, { passive: true });
  byId("detail").addEventListener("scroll", onScroll, { passive: true });

  /**
   * @param {PageState} state
   * @param {Translator} t
   */
  const render = (state, t) => {
    last = { state, t };
    const { timeline } = state;
    if (timeline?.id !== id) {
      id = timeline?.id ?? "";
      shownEvents = WINDOW_EVENTS;
      renderedEvents = 0;
      unseen = 0;
      list.replaceChildren();
    }
    if (!timeline) return showLatest();
    const isLive = state.replaySeq === null;
    const events = state.replaySeq === null ? timeline.events : timeline.events.slice(0, indexAt(timeline.events, state.replaySeq) + 1);
    const wasAtEnd = isAtEnd();
    const isShown = list.checkVisibility();
    const isGrowing = renderedEvents > 0 && timeline.history === "ready";
    const hidden = Math.max(0, events.length - shownEvents);
    const isLoading = timeline.history === "loading";
    const region = byId("timeline-log");
    region.setAttribute("aria-busy", String(isLoading));
    region.setAttribute("aria-live", isLive ? "polite" : "off");
    // Of a long history the first page is shown at once, the others together: each would push the one before it out.
    if (!isLoading || hidden === 0) {
      reconcile(list, rowsOf(state, events, hidden), {
        key: (row) => (row.kind === "event" ? row.event.seq : "divider"),
        version: (row) => (row.kind === "event" ? `${t.language} ${row.previous?.seq ?? 0}` : t.language),
        build: (row) => (row.kind === "event" ? eventRow(row, isGrowing, t) : divider(t)),
      });
    }
    byId("timeline-count").textContent = timeline.events.length ? t.number(timeline.events.length) : "";
    const showEarlier = () => {
      shownEvents += WINDOW_EVENTS;
      if (last) render(last.state, last.t);
    };
    const { history, error, trimmedBefore } = timeline;
    refill(byId("timeline-top"), JSON.stringify([t.language, trimmedBefore, hidden]), () => above(timeline, hidden, showEarlier, t));
    const status = state.demands[id]?.status ?? "processing";
    const later = timeline.events.length - events.length;
    const version = JSON.stringify([t.language, id, status, history, error, timeline.events.length === 0, later]);
    refill(byId("timeline-end"), version, () => below(timeline, status, later, retry, t));
    const added = events.length - renderedEvents;
    renderedEvents = events.length;
    if (!isLive || !isShown) unseen = 0;
    else if (isGrowing && added > 0) {
      if (wasAtEnd) scroller().scrollTo({ top: scroller().scrollHeight });
      else unseen += added;
    }
    return showLatest();
  };
  return { render };
}

/**
 * @param {PageState} state
 * @param {StoredEvent[]} events
 * @param {number} hidden how many of the oldest are left out
 * @returns {Row[]}
 */
function rowsOf(state, events, hidden) {
  /** @type {Row[]} */
  const rows = [];
  for (let i = hidden; i < events.length; i += 1) {
    const isFirstNew = i > 0 && isNew(state, events[i].seq) && !isNew(state, events[i - 1].seq);
    if (isFirstNew) rows.push({ kind: "divider" });
    rows.push({ kind: "event", event: events[i], previous: events[i - 1] });
  }
  return rows;
}

/**
 * @param {Extract<Row, {kind: "event"}>} row
 * @param {boolean} isLive whether it arrives before the reader's eyes
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function eventRow({ event, previous }, isLive, t) {
  const { seq, revision, event_type, timestamp, source } = event;
  const after = previous ? Date.parse(timestamp) - Date.parse(previous.timestamp) : NaN;
  const hasName = t.has(`event.${event_type}`);
  const raw = element("pre", { tabindex: 0 });
  const json = element("details", { class: "json" }, element("summary", {}, t.text("timeline.json")), raw);
  json.addEventListener("toggle", () => {
    if (!raw.textContent) raw.textContent = JSON.stringify(event, null, 2);
  });
  return element(
    "li",
    { class: isLive ? "event live" : "event", dataset: { seq, type: event_type } },
    element("span", { class: "node", "aria-hidden": "true" }),
    element(
      "div",
      { class: "top" },
      element("h3", { class: hasName ? "" : "plain" }, eventName(event_type, t)),
      element(
        "span",
        { class: "when" },
        after >= 0 && element("span", { class: "after", title: t.text("timeline.after", { time: t.span(after) }) }, `+${t.span(after)}`),
        element("time", { datetime: timestamp, title: t.date(timestamp) }, t.clock(timestamp)),
      ),
    ),
    element("div", { class: "payload" }, renderPayload(event, t)),
    element(
      "div",
      { class: "meta" },
      element("span", {}, t.text("timeline.source", { source })),
      hasName && element("code", {}, event_type),
      element("span", {}, t.text("timeline.position", { seq: String(seq), revision: String(revision) })),
      json,
    ),
  );
}

/**
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function divider(t) {
  return element("li", { class: "divider", role: "separator" }, element("span", {}, t.text("timeline.new")));
}

/**
 * @param {Timeline} timeline
 * @param {number} hidden
 * @param {() => void} showEarlier
 * @param {Translator} t
 */
function above({ trimmedBefore }, hidden, showEarlier, t) {
  return [
    trimmedBefore > 0 && element("p", { class: "muted note" }, t.text("timeline.trimmed", { seq: String(trimmedBefore) })),
    hidden > 0 &&
      element(
        "button",
        { type: "button", class: "quiet", onclick: showEarlier },
        t.text("timeline.earlier", { count: Math.min(hidden, WINDOW_EVENTS) }),
      ),
  ];
}

/**
 * @param {Timeline} timeline
 * @param {string} status of the demand
 * @param {number} later how many events are hidden by the replay
 * @param {() => void} retry
 * @param {Translator} t
 */
function below({ history, error, events }, status, later, retry, t) {
  if (history === "failed") {
    return problem(t.text("timeline.failed", { message: error }), retry, t);
  }
  if (history === "loading") {
    return waiting(t.text("timeline.loading"), null);
  }
  if (later > 0) return element("p", { class: "muted note" }, t.count("timeline.later", later));
  if (status !== "processing") return element("p", { class: "muted note" }, t.text("timeline.ended"));
  return element(
    "p",
    { class: "waiting" },
    element("span", { class: "pulse", "aria-hidden": "true" }),
    t.text("timeline.waiting"),
    events.length === 0 && element("span", { class: "muted" }, t.text("timeline.waiting.detail")),
  );
}

function isAtEnd() {
  const { scrollTop, clientHeight, scrollHeight } = scroller();
  return scrollTop + clientHeight >= scrollHeight - AT_END_PX;
}
