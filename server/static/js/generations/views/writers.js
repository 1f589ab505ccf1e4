/**
 * The agents of a run: side by side where there is room, else one below the other with one open at a time.
 *
 * @import { Run } from "../types.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Writer } from "./writer.js"
 */

import { reconcile } from "../../lib/html.js";
import { byId } from "../../ui/views/static-texts.js";
import { writerCard } from "./writer.js";

/**
 * @param {() => void} onToggle
 * @returns {{render: (run: Run, t: Translator) => void}}
 */
export function writersView(onToggle) {
  const list = byId("writers");
  const roomy = matchMedia("(min-width: 760px)");
  roomy.addEventListener("change", onToggle);
  /** @type {Map<string, Writer>} */
  const writers = new Map();
  let runId = "";
  /** What the reader has opened; empty: has closed; null: nothing yet, so the page opens what is being written. @type {string | null} */
  let opened = null;
  let open = "";

  return {
    render(run, t) {
      if (run.id !== runId) {
        runId = run.id;
        opened = null;
        writers.clear();
      }
      const isOver = run.status !== "running";
      open = opened ?? run.agents.find(({ status }) => status === "running" || status === "retrying")?.name ?? "";
      reconcile(list, run.agents, {
        key: ({ name }) => `${run.id}/${name}`,
        version: ({ task }) => JSON.stringify([t.language, roomy.matches, task]),
        build: (agent) => {
          const toggle = () => {
            opened = open === agent.name ? "" : agent.name;
            onToggle();
          };
          const isStaged = run.agents.some(({ stage }) => stage !== run.agents[0].stage);
          const writer = writerCard(agent, { id: `writer-${run.agents.indexOf(agent)}`, isStaged, toggle: roomy.matches ? null : toggle }, t);
          writers.set(agent.name, writer);
          return writer.card;
        },
      });
      for (const agent of run.agents) writers.get(agent.name)?.update(agent, isOver, roomy.matches || agent.name === open, t);
    },
  };
}
