/**
 * One agent of a run: its name and state, what it writes as it writes it, and what goes wrong, where it happens.
 *
 * The card is built once and then changed in place, so that a growing text costs what was added. Nothing in it is a live region.
 *
 * @import { Agent } from "../types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, icon, refill, setText } from "../../lib/html.js";
import { textOf } from "../../ui/views/pieces.js";
import { proseIn } from "./prose.js";

/** How a state looks. @type {Record<string, string>} */
const LOOKS = { waiting: "plain", running: "busy", retrying: "waits", completed: "good", failed: "bad", stopped: "plain", skipped: "plain" };
const END_PX = 24; // so near to its end a text is followed

/**
 * @typedef {object} Writer
 * @property {HTMLElement} card
 * @property {(agent: Agent, isOver: boolean, isOpen: boolean, t: Translator) => void} update
 *
 * @typedef {object} WriterOptions
 * @property {string} id unique on the page
 * @property {boolean} isStaged whether the stage is worth telling
 * @property {(() => void) | null} toggle opens and closes it; null where all are open
 */

/**
 * The name of an agent for people.
 *
 * @param {string} name
 * @param {Translator} t
 * @returns {string} the name itself when there is no other
 */
export function agentName(name, t) {
  return t.has(`generations.agent.${name}`) ? t.text(`generations.agent.${name}`) : textOf(name, 80);
}

/**
 * What an agent ran into, in the reader's language where its kind is known.
 *
 * @param {string} errorType
 * @param {string} error the server's sentence
 * @param {Translator} t
 * @returns {string}
 */
export function agentError(errorType, error, t) {
  const status = /^status_(\d{3})$/.exec(errorType)?.[1];
  if (status) return t.text("generations.error.status", { status });
  if (t.has(`generations.error.${errorType}`)) return t.text(`generations.error.${errorType}`);
  return textOf(error, 300) || t.text("generations.error.unknown");
}

/**
 * @param {Agent} agent
 * @param {WriterOptions} options
 * @param {Translator} translator
 * @returns {Writer}
 */
export function writerCard({ name, task, stage }, { id, isStaged, toggle }, translator) {
  const shownName = agentName(name, translator);
  const button = toggle && element("button", { type: "button", class: "writer-toggle", "aria-controls": `${id}-body`, onclick: toggle }, element("span", { dir: "auto" }, shownName), icon("down"));
  const badge = element("span", { class: "badge" });
  const trouble = element("div", { class: "trouble" });
  const prose = element("div", { class: "prose writer-text", role: "group", dir: "auto", tabindex: 0, "aria-label": translator.text("generations.writer.text", { name: shownName }) });
  const silence = element("p", { class: "muted small-text silence" });
  const foot = element("p", { class: "facts writer-foot" });
  const body = element("div", { class: "writer-body", id: `${id}-body` }, task && element("p", { class: "muted small-text task", dir: "auto" }, textOf(task, 300)), trouble, silence, prose, foot);
  const heading = element("h4", { id: `${id}-name` }, button ?? element("span", { dir: "auto" }, shownName));
  const card = element(
    "li",
    { class: "writer card", dataset: { agent: name } },
    element("article", { "aria-labelledby": `${id}-name` }, element("div", { class: "writer-head" }, isStaged && element("span", { class: "stage-number", "aria-hidden": "true" }, String(stage)), heading, badge), body),
  );
  const write = proseIn(prose);

  return {
    card,
    update(agent, isOver, isOpen, t) {
      const hasEnded = agent.status === "completed" || agent.status === "failed";
      const state = hasEnded || !isOver ? agent.status : agent.status === "waiting" ? "skipped" : "stopped";
      card.dataset.status = state;
      badge.dataset.look = LOOKS[state];
      setText(badge, t.text(`generations.writer.${state}`));
      button?.setAttribute("aria-expanded", String(isOpen));
      body.hidden = !isOpen;
      if (!isOpen) return;
      const isAtEnd = prose.scrollTop + prose.clientHeight >= prose.scrollHeight - END_PX;
      prose.hidden = agent.text.isEmpty;
      if (write(agent.text, isOver || hasEnded) && isAtEnd) prose.scrollTop = prose.scrollHeight;
      silence.hidden = !agent.text.isEmpty || (state !== "waiting" && state !== "running");
      setText(silence, t.text(state === "waiting" ? "generations.waits" : "generations.begins"));
      showTrouble(trouble, agent, state, t);
      showFoot(foot, agent, t);
    },
  };
}

/**
 * @param {HTMLElement} place
 * @param {Agent} agent
 * @param {string} state
 * @param {Translator} t
 */
function showTrouble(place, { errorType, error, retries, nextTryAt }, state, t) {
  const isTrouble = state === "failed" || state === "retrying";
  place.hidden = !isTrouble;
  place.dataset.look = LOOKS[state];
  refill(place, JSON.stringify([t.language, isTrouble, state, errorType, error, retries, nextTryAt]), () => [
    isTrouble && element("p", {}, agentError(errorType, error, t)),
    state === "retrying" &&
      element("p", { class: "small-text" }, t.text("generations.attempt", { attempt: retries + 1 }), " ", nextTryAt !== null && element("span", { class: "until", role: "timer", dataset: { deadline: nextTryAt } })),
  ]);
}

/**
 * @param {HTMLElement} place
 * @param {Agent} agent
 * @param {Translator} t
 */
function showFoot(place, { writtenBy, degraded, retries, text, status }, t) {
  const { characters } = text;
  refill(place, JSON.stringify([t.language, writtenBy, degraded, retries, characters, status]), () => [
    degraded && element("span", { class: "marker", title: t.text("generations.by.template.detail") }, t.text("generations.by.template")),
    !degraded && writtenBy && element("span", { dir: "auto" }, t.text("generations.by", { name: textOf(writtenBy, 60) })),
    characters > 0 && element("span", { class: "count" }, t.count("generations.characters", characters)),
    retries > 0 && status !== "retrying" && element("span", {}, t.count("generations.retried", retries)),
  ]);
}
