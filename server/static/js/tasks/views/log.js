/**
 * A log of any length: only the rows that are in sight exist, so 10,000 events cost what 30 do.
 *
 * All rows have the same height, which the style sheet has as `--row`. The log follows its end until the reader scrolls up;
 * a button then leads back.
 *
 * @import { LogEntry, TaskLog } from "../log.js"
 * @import { Task, TaskEvent } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { number, text } from "../../lib/fields.js";
import { element, reconcile } from "../../lib/html.js";
import { clock, textOf } from "../../ui/views/pieces.js";
import { byId } from "../../ui/views/static-texts.js";

const BESIDE = 12; // rows above and below those in sight, for quick scrolling
const AT_END_PX = 40;
const LONGEST = 400; // characters of a payload in a row
const NAMED = ["phase_enter", "work_item_start", "work_item_complete", "work_item_failed", "progress_update", "task_complete", "task_failed", "task_cancelled"];

/**
 * @returns {{render: (log: TaskLog, task: Task, t: Translator) => void, begin: () => void}} `begin`: another log is shown, from its end
 */
export function taskLogView() {
  const frame = byId("log");
  const rows = byId("log-rows");
  const newest = byId("log-newest");
  /** @type {{log: TaskLog, task: Task, t: Translator} | null} */
  let last = null;
  let isFollowing = true;
  let seenId = 0; // of the last entry that was in sight while following

  // What is measured is kept, because asking for it in every frame would have the page laid out twice.
  let rowHeight = 0;
  let frameHeight = 0;
  let top = 0;

  const draw = () => {
    if (!last) return;
    const { log, task, t } = last;
    const { entries } = log;
    if (isFollowing) {
      top = Math.max(0, entries.length * rowHeight - frameHeight);
      seenId = entries.at(-1)?.id ?? 0;
    }
    const first = rowHeight ? Math.max(0, Math.floor(top / rowHeight) - BESIDE) : 0;
    const count = rowHeight ? Math.ceil(frameHeight / rowHeight) + 2 * BESIDE : 0;
    rows.style.height = `${entries.length * rowHeight}px`;
    rows.style.paddingTop = `${first * rowHeight}px`;
    reconcile(rows, entries.slice(first, first + count), { key: ({ id }) => id, version: () => t.language, build: (entry) => row(entry, task, t) });
    [...rows.children].forEach((child, i) => {
      child.setAttribute("aria-setsize", String(entries.length));
      child.setAttribute("aria-posinset", String(first + i + 1));
    });
    const unseen = isFollowing ? 0 : (entries.at(-1)?.id ?? 0) - seenId;
    newest.hidden = isFollowing;
    newest.textContent = unseen > 0 ? t.count("log.newest", unseen) : t.text("log.newest");
    byId("log-count").textContent = log.events ? t.count("log.count", log.events) : "";
    if (isFollowing) frame.scrollTop = frame.scrollHeight;
  };

  frame.addEventListener(
    "scroll",
    () => {
      top = frame.scrollTop;
      isFollowing = frame.scrollHeight - top - frame.clientHeight < AT_END_PX;
      draw();
    },
    { passive: true },
  );
  newest.addEventListener("click", () => {
    isFollowing = true;
    draw();
    frame.focus();
  });
  new ResizeObserver(() => {
    rowHeight = Number.parseFloat(getComputedStyle(frame).getPropertyValue("--row"));
    frameHeight = frame.clientHeight;
    draw();
  }).observe(frame);

  return {
    render(log, task, t) {
      last = { log, task, t };
      draw();
    },
    begin() {
      isFollowing = true;
    },
  };
}

/**
 * @param {LogEntry} entry
 * @param {Task} task knows the names of its work items
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function row({ event, remark, values }, task, t) {
  if (!event) return element("li", { class: "log-row remark", dataset: { remark } }, element("span", {}, t.text(remark, values)));
  const { seq, revision, type, timestamp } = event;
  const said = summary(event, task, t);
  return element(
    "li",
    { class: "log-row", dataset: { seq, revision, type } },
    element("span", { class: "log-revision" }, `#${revision}`),
    clock(timestamp, t),
    element("span", { class: "log-type", dir: "auto" }, NAMED.includes(type) ? t.text(`logged.${type}`) : textOf(type, 60)),
    element("span", { class: "log-said", dir: "auto", title: said.length > 40 && said }, said),
  );
}

/**
 * @param {TaskEvent} event
 * @param {Task} task
 * @param {Translator} t
 * @returns {string} one line
 */
function summary({ type, phase, spanId, payload }, { items }, t) {
  const percent = number(payload.progress);
  if (type === "phase_enter") return phase;
  if (type === "progress_update" && percent !== null) return t.text("log.progress", { percent });
  const name = text(payload.name) || text(payload.title) || items.get(spanId)?.name;
  const why = text(payload.error) || text(payload.message) || text(payload.text) || text(payload.reason);
  const parts = [name || spanId, why].filter(Boolean);
  if (parts.length) return textOf(parts.join(" — ").replaceAll("\n", " "), LONGEST);
  return Object.keys(payload).length ? textOf(payload, LONGEST) : "";
}
