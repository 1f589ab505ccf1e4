/**
 * A run as a whole: its prompt, its progress, the command to cancel it, and its end.
 *
 * One live region has its status, in sentences that change when an agent begins, fails or ends; texts are outside of it.
 *
 * @import { Run } from "../types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { RequestError } from "../../lib/http.js";
import { element, fill, refill, setText } from "../../lib/html.js";
import { serverNow } from "../../lib/server-clock.js";
import { timeLeft } from "../../ui/views/countdown.js";
import { failureText } from "../../ui/failure-text.js";
import { byId } from "../../ui/views/static-texts.js";
import { agentName } from "./writer.js";

const LONG_PROMPT = 220; // characters, from where it is cut to a few lines
const LOOKS = { new: "plain", running: "busy", completed: "good", failed: "bad", cancelled: "plain" };

/**
 * @param {(id: string) => Promise<any>} cancel
 * @returns {{render: (run: Run, t: Translator) => void, tick: (run: Run) => void}} `tick` writes the time that it has taken
 */
export function runView(cancel) {
  const button = byId("cancel-run");
  const message = byId("run-message");
  const more = byId("run-more");
  /** @type {Run} */
  let shown;
  /** @type {Translator} */
  let t;
  /** What is being cancelled. */
  let cancelling = "";
  let isWhole = false;

  button.addEventListener("click", async () => {
    const { id } = shown;
    cancelling = id;
    fill(message);
    showButton();
    try {
      await cancel(id);
    } catch (error) {
      // It has ended already, which the page sees by itself.
      const isOver = error instanceof RequestError && error.status === 409;
      if (!isOver && shown.id === id) fill(message, t.text("generations.cancel.failed", { message: failureText(error, t) }));
      cancelling = "";
      showButton();
    }
  });
  const showButton = () => {
    const wasFocused = document.activeElement === button;
    button.hidden = shown.status !== "running";
    button.disabled = cancelling === shown.id;
    button.textContent = t.text(button.disabled ? "generations.cancelling" : "generations.cancel");
    if (button.hidden && wasFocused) byId("run").focus({ preventScroll: true });
  };
  const showPrompt = () => {
    const isLong = shown.prompt.length > LONG_PROMPT;
    byId("run-title").classList.toggle("clamped", isLong && !isWhole);
    more.hidden = !isLong;
    more.textContent = t.text(isWhole ? "text.less" : "text.more");
    more.setAttribute("aria-expanded", String(isWhole));
  };
  more.addEventListener("click", () => {
    isWhole = !isWhole;
    showPrompt();
  });
  const tick = (/** @type {Run} */ { createdAt, endedAt }) => {
    const milliseconds = (endedAt ? Date.parse(endedAt) : serverNow()) - Date.parse(createdAt);
    const text = Number.isNaN(milliseconds) || !t ? "" : timeLeft(Math.max(0, Math.round(milliseconds / 1000)), t);
    setText(byId("run-time"), text);
  };

  return {
    tick,
    render(run, translator) {
      if (shown?.id !== run.id) {
        fill(message);
        isWhole = false;
      }
      shown = run;
      t = translator;
      showButton();
      refill(byId("run-title"), run.prompt, () => run.prompt);
      showPrompt();
      refill(byId("run-facts"), JSON.stringify([t.language, run.id, run.mode, run.status, run.partial, run.continues, run.resumes, run.createdAt]), () => facts(run, t));
      const line = standing(run, t);
      setText(byId("run-status"), line);
      byId("run-progress").value = run.progress.percent;
      byId("run-progress").hidden = run.status !== "running";
      refill(byId("run-end"), JSON.stringify([t.language, run.status, run.reason]), () => {
        if (run.status !== "failed" && run.status !== "cancelled") return null;
        return element("p", { class: "run-end", dataset: { status: run.status } }, t.text(`generations.reason.${run.reason || "internal"}`));
      });
      tick(run);
    },
  };
}

/**
 * @param {Run} run
 * @param {Translator} t
 * @returns {HTMLElement} its status; the word carries the meaning, the colour helps
 */
export function runBadge({ status, partial }, t) {
  const isPartial = status === "completed" && partial;
  return element("span", { class: "badge", dataset: { look: isPartial ? "waits" : LOOKS[status] } }, t.text(`generations.status.${isPartial ? "partial" : status}`));
}

/**
 * @param {Run} run
 * @param {Translator} t
 */
function facts(run, t) {
  return [
    runBadge(run, t),
    element("span", { class: "badge", dataset: { look: "plain" } }, t.text(`generations.mode.${run.mode}`)),
    element("time", { class: "muted small-text", datetime: run.createdAt }, t.date(run.createdAt)),
    run.continues && element("a", { class: "small-text", href: `#${run.continues}` }, t.text("generations.continues")),
    run.resumes > 0 && element("span", { class: "muted small-text" }, t.count("generations.resumed", run.resumes)),
  ];
}

/**
 * How a run stands, in a sentence or two.
 *
 * @param {Run} run
 * @param {Translator} t
 * @returns {string}
 */
export function standing({ status, partial, agents }, t) {
  const named = (/** @type {string} */ wanted) => agents.filter((agent) => agent.status === wanted).map(({ name }) => agentName(name, t));
  if (status === "completed") return partial ? t.text("generations.now.partial", { names: t.list(named("failed")) }) : t.text("generations.now.completed");
  if (status !== "running") return t.text(`generations.now.${status}`);
  const [writing, retrying, failed, done] = [named("running"), named("retrying"), named("failed"), named("completed")];
  const count = done.length && t.text("generations.now.count", { done: done.length, total: agents.length });
  return [
    writing.length && t.text("generations.now.writing", { names: t.list(writing) }),
    retrying.length && t.text("generations.now.retrying", { names: t.list(retrying) }),
    failed.length && t.text("generations.now.without", { names: t.list(failed) }),
    count || (writing.length + retrying.length + failed.length === 0 && t.text("generations.now.begins")),
  ]
    .filter(Boolean)
    .join(t.language === "zh" ? "" : " ");
}
