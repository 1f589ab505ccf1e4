/**
 * The sessions that wait for a human and those of the operator, with the operator's own id above.
 *
 * @import { Queue, Waiting } from "../state.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, reconcile, refill, setText } from "../../lib/html.js";
import { longestFirst, NAME } from "../state.js";
import { byId } from "../../ui/views/static-texts.js";
import { waiting, problem, empty } from "../../ui/views/pieces.js";

/**
 * @typedef {object} ShownQueue
 * @property {string} operatorId empty: not chosen yet
 * @property {Queue} queue
 * @property {"none" | "loading" | "ready" | "failed"} status
 * @property {string} error
 * @property {boolean} hasMore
 * @property {string} chosen
 */

/**
 * @param {{use: (operatorId: string) => void, retry: () => void}} actions
 * @returns {{render: (shown: ShownQueue, t: Translator, now: number) => void}}
 */
export function queueView({ use, retry }) {
  const form = byId("operator-form");
  const field = byId("operator-id");
  const message = byId("operator-message");
  let isChanging = false;
  /** @type {Translator} */
  let t;
  let current = "";

  const showForm = () => {
    form.hidden = current !== "" && !isChanging;
    byId("operator-chosen").hidden = !form.hidden;
    byId("operator-name").textContent = current;
  };
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const id = field.value.trim();
    const isValid = NAME.test(id) && id !== "queue";
    message.textContent = isValid ? "" : t.text("operator.invalid");
    if (!isValid) return field.focus();
    isChanging = false;
    use(id);
    byId("operator-change").focus();
  });
  byId("operator-change").addEventListener("click", () => {
    isChanging = true;
    field.value = current;
    showForm();
    field.select();
  });

  return {
    render({ operatorId, queue, status, error, hasMore, chosen }, translator, now) {
      t = translator;
      current = operatorId;
      showForm();
      const asking = longestFirst(queue.waiting);
      const mine = longestFirst(queue.mine);
      const rows = (/** @type {HTMLElement} */ list, /** @type {Waiting[]} */ items) =>
        reconcile(list, items, {
          key: ({ name }) => name,
          version: (item) => JSON.stringify([t.language, item, item.name === chosen, t.ago(item.since, now)]),
          build: (item) => row(item, item.name === chosen, t, now),
        });
      rows(byId("waiting"), asking);
      rows(byId("mine"), mine);
      byId("mine-section").hidden = mine.length === 0;
      const isReady = operatorId !== "" && status === "ready";
      const count = byId("waiting-count");
      const text = isReady && asking.length ? t.count("queue.count", asking.length) : "";
      setText(count, text);
      const version = JSON.stringify([t.language, operatorId === "", status, error, asking.length === 0, hasMore]);
      refill(byId("queue-state"), version, () => {
        if (!operatorId) return element("p", { class: "muted small-text" }, t.text("operator.none"));
        if (status === "failed") return problem(t.text("queue.failed", { message: error }), retry, t);
        if (status !== "ready") return waiting(t.text("queue.loading"));
        if (hasMore) return element("p", { class: "muted small-text" }, t.text("queue.more"));
        if (asking.length) return null;
        return empty(t.text("queue.empty"), t.text("queue.empty.detail"));
      });
    },
  };
}

/**
 * @param {Waiting} item
 * @param {boolean} isChosen
 * @param {Translator} t
 * @param {number} now
 */
function row({ name, reason, since }, isChosen, t, now) {
  return element(
    "li",
    { dataset: { session: name } },
    element(
      "a",
      { class: "demand", href: `#${name}`, "aria-current": isChosen ? "true" : false },
      element("span", { class: "what strong" }, name),
      element("span", { class: "what small-text", dir: "auto" }, reason || t.text("queue.noreason")),
      element("span", { class: "facts" }, element("time", { datetime: since, title: t.date(since) }, t.ago(since, now))),
    ),
  );
}
