/**
 * What nobody covers, and the sub-negotiations that look for it: each with its own stages, nested at any depth.
 *
 * @import { Gap, Negotiation, Subnet } from "../negotiation-types.js"
 * @import { Story } from "../story.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Context, Stage } from "./stages.js"
 */

import { isDemandId } from "../../lib/fields.js";
import { element, refill } from "../../lib/html.js";
import { outcomeText } from "../sentence.js";
import { nowText } from "./now.js";
import { outcomeCard } from "./outcome.js";
import { clock, problem, textOf, waiting } from "../../ui/views/pieces.js";
import { capabilityText, longText, until } from "./pieces.js";
import { stageFrame } from "./stage-frame.js";

const SHOWN = 40;

/**
 * @param {Story} story
 * @param {{gaps: Gap[], subnets: Subnet[]}} wave
 * @param {Context} context
 * @param {(list: HTMLElement, story: Story, context: Context) => void} renderStages
 * @returns {Stage}
 */
export function gapsStage(story, { gaps, subnets }, context, renderStages) {
  const { t, level, isLive } = context;
  const { negotiation } = story;
  const { seq, at } = gaps[0] && (!subnets[0] || gaps[0].seq < subnets[0].seq) ? gaps[0] : subnets[0];
  const version = JSON.stringify([t.language, level, isLive, gaps.map((gap) => gap.seq), subnets.map((subnet) => [subnet.seq, subnet.outcome])]);
  const build = () => {
    const left = subnets.slice(0, SHOWN);
    const items = gaps.slice(0, SHOWN).map((gap) => {
      const place = left.findIndex(({ capability }) => capability === gap.capability);
      const own = place < 0 ? null : left.splice(place, 1)[0];
      return element("li", { class: "gap", dataset: { seq: gap.seq } }, gapText(gap, negotiation, t), own && subnetBox(own, negotiation, context));
    });
    items.push(...left.map((subnet) => element("li", { class: "gap", dataset: { seq: subnet.seq } }, subnetBox(subnet, negotiation, context))));
    return stageFrame({ kind: "gap", seq, level, title: t.text("stage.gaps"), when: clock(at, t) }, element("ul", { class: "gaps" }, items));
  };
  const update = (/** @type {HTMLElement} */ row) => {
    for (const box of /** @type {NodeListOf<HTMLElement>} */ (row.querySelectorAll(":scope > .body > .gaps > .gap > [data-subnet]"))) {
      const subnet = story.subnets[box.dataset.subnet ?? ""];
      updateBox(box, subnet, context, renderStages);
    }
  };
  return { key: `gaps ${seq}`, version, build, update };
}

/**
 * @param {Gap} gap
 * @param {Negotiation} negotiation
 * @param {Translator} t
 */
function gapText({ capability, sentence, reason, neededBy }, { wanted, names }, t) {
  const named = textOf(capabilityText(capability, wanted, t), 120);
  const why = reason === "needed_by" ? t.text("gap.needed_by", { who: textOf(names.get(neededBy) ?? neededBy, 80) }) : t.has(`gap.${reason}`) ? t.text(`gap.${reason}`) : "";
  return element(
    "div",
    { class: "gap-text" },
    element("p", {}, element("b", { class: "lack-name", dir: "auto" }, named), why && element("span", { class: "muted" }, why)),
    longText(sentence, t, "said"),
  );
}

/**
 * @param {Subnet} subnet
 * @param {Negotiation} negotiation
 * @param {Context} context
 * @returns {HTMLElement}
 */
function subnetBox({ id, capability, surface, deadline, outcome, seq, changedSeq }, { wanted }, { t, isLive, isOpen, setOpen }) {
  const details = element(
    "details",
    { class: "subnet", open: isOpen(`subnet ${id}`, !outcome), dataset: { subnet: id, seq: outcome ? changedSeq : seq, outcome } },
    element(
      "summary",
      {},
      element("span", { class: "subnet-title" }, element("b", { dir: "auto" }, t.text("subnet.title", { capability: textOf(capabilityText(capability, wanted, t), 120) }))),
      element("span", { class: "badge", dataset: { status: outcome === "timed_out" ? "failed" : outcome || "processing" } }, outcome ? textOf(outcomeText(outcome, t), 60) : t.text("subnet.running")),
      !outcome && until(deadline, isLive, t),
    ),
    element(
      "p",
      { class: "subnet-facts" },
      surface && element("span", { dir: "auto" }, textOf(surface, 300)),
      isDemandId(id) && element("a", { href: `#${id}` }, t.text("subnet.open")),
      element("code", { class: "id" }, textOf(id, 130)),
    ),
    element("div", { class: "subnet-state" }),
    element("div", { class: "subnet-outcome" }),
    element("ol", { class: "stages nested" }),
  );
  details.querySelector("summary")?.addEventListener("click", () => setOpen(`subnet ${id}`, !details.open));
  return details;
}

/**
 * @param {HTMLElement} box
 * @param {Story | undefined} story of the sub-negotiation; undefined while its history is not requested
 * @param {Context} context
 * @param {(list: HTMLElement, story: Story, context: Context) => void} renderStages
 */
function updateBox(box, story, context, renderStages) {
  const { t, retry } = context;
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (box.querySelector(`:scope > .${name}`));
  const isFailed = story?.history === "failed";
  const isEmpty = story && !story.negotiation.eventCount;
  const now = story && !isEmpty && !isFailed ? nowText(story.negotiation, t) : "";
  refill(part("subnet-state"), JSON.stringify([t.language, story?.history, isEmpty, story?.error, now]), () => {
    if (!story) return null;
    if (isFailed) return problem(t.text("timeline.failed", { message: story.error }), () => retry(story.negotiation.id), t);
    if (isEmpty && story.history === "ready") return element("p", { class: "muted" }, t.text("subnet.missing"));
    if (isEmpty) return waiting(t.text("timeline.loading"), null);
    return now && element("p", { class: "waiting" }, element("span", { class: "pulse", "aria-hidden": "true" }), now);
  });
  const outcome = story?.negotiation.outcome;
  const nested = { ...context, level: context.level + 1, answerForm: undefined };
  refill(part("subnet-outcome"), JSON.stringify([t.language, outcome?.seq]), () => (story && outcome ? outcomeCard(story.negotiation, outcome, t, nested.level, true) : null));
  const list = /** @type {HTMLElement} */ (box.querySelector(":scope > .stages"));
  if (story && !isFailed) renderStages(list, story, nested);
  else list.replaceChildren();
}
