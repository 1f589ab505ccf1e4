/**
 * The result of a run: the text, whether anything is missing in it, its writer, and a button that copies it.
 *
 * @import { Run } from "../types.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { GrowingText } from "../growing-text.js";
import { element, refill } from "../../lib/html.js";
import { proseIn } from "./prose.js";
import { byId } from "../../ui/views/static-texts.js";
import { agentName } from "./writer.js";

const SAID_MS = 4000;

/** @returns {{render: (run: Run, t: Translator) => void}} */
export function resultView() {
  const place = byId("result-text");
  const said = byId("copied");
  const label = byId("copy").querySelector("span");
  const write = proseIn(place);
  let text = new GrowingText();
  /** @type {Translator} */
  let t;
  /** @type {number | undefined} */
  let timer;

  const say = (/** @type {string} */ key) => {
    window.clearTimeout(timer);
    said.textContent = label.textContent = t.text(key);
    timer = window.setTimeout(() => {
      said.textContent = "";
      label.textContent = t.text("generations.copy");
    }, SAID_MS);
  };
  byId("copy").addEventListener("click", async () => say((await copy(text.toString(), place)) ? "generations.copied" : "generations.uncopied"));

  return {
    render(run, translator) {
      t = translator;
      byId("result").hidden = run.status !== "completed";
      if (run.status !== "completed") return;
      if (text.toString() !== run.result) text = new GrowingText(run.result);
      write(text, true);
      const failed = run.agents.filter(({ status }) => status === "failed").map(({ name }) => agentName(name, t));
      const version = JSON.stringify([t.language, run.id, failed, run.degraded, run.partial, text.characters]);
      refill(byId("result-facts"), version, () => text.characters > 0 && element("span", { class: "count" }, t.count("generations.characters", text.characters)));
      refill(byId("result-notes"), version, () => [
        run.partial && element("p", { class: "note-line warned" }, t.text(failed.length > 1 ? "generations.partial.many" : "generations.partial", { names: t.list(failed) })),
        run.degraded && element("p", { class: "note-line" }, t.text("generations.degraded")),
        text.isEmpty && element("p", { class: "note-line" }, t.text("generations.empty")),
      ]);
      byId("copy").hidden = text.isEmpty;
    },
  };
}

/**
 * Put a text into the clipboard, also where the browser does not trust the page with it because it came over plain HTTP.
 *
 * @param {string} text
 * @param {HTMLElement} place where it is shown; selected when the other way is barred
 * @returns {Promise<boolean>}
 */
async function copy(text, place) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(place);
    return document.execCommand("copy");
  }
}
