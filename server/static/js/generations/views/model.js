/**
 * The writer: the model that the server has, or the template, with a sentence on how to get a model.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, refill } from "../../lib/html.js";
import { textOf } from "../../ui/views/pieces.js";
import { byId } from "../../ui/views/static-texts.js";

const COMMAND = "pip install '.[local-llm]'";
const LOOKS = /** @type {Record<string, string>} */ ({ ready: "good", starting: "waits", fetching: "waits", absent: "bad" });

/**
 * @typedef {{kind: string, name: string | null, status: string, hint: string}} Model as in `GET /api/model`
 */

/** @returns {{render: (model: Model | null, t: Translator) => void}} */
export function modelView() {
  return {
    render(model, t) {
      refill(byId("model"), JSON.stringify([t.language, model]), () => {
        if (!model) return null;
        const { kind, hint } = model;
        const [before, behind] = t.text("generations.model.get").split("{command}");
        return [
          element("p", {}, element("span", { class: "dot", dataset: { look: LOOKS[model.status] ?? "plain" }, "aria-hidden": "true" }), element("b", {}, t.text("generations.model")), " ", element("span", { dir: "auto" }, sentence(model, t))),
          kind === "local" && hint && element("p", { class: "muted", lang: "en" }, textOf(hint)),
          kind === "none" && element("p", { class: "muted" }, before, element("code", {}, COMMAND), behind),
        ];
      });
    },
  };
}

/**
 * @param {Model} model
 * @param {Translator} t
 * @returns {string}
 */
function sentence({ kind, name, status }, t) {
  const shown = textOf(name, 80) || t.text("generations.model.unnamed");
  if (kind === "none" || status === "absent") return t.text("generations.model.none");
  if (status === "starting" || status === "fetching") return t.text(`generations.model.${status}`, { name: shown });
  return t.text(kind === "remote" ? "generations.model.remote" : "generations.model.local", { name: shown });
}
