/**
 * A negotiation as people look at it: its stages in the order in which they came, sub-negotiations nested at any depth.
 *
 * Stages that did not change are left alone, so that focus, open details and a half-written answer survive new events.
 *
 * @import { Story } from "../story.js"
 * @import { Gap, Negotiation, Round, Subnet } from "../negotiation-types.js"
 * @import { Translator } from "../../ui/i18n.js"
 *
 * @typedef {object} Context
 * @property {Translator} t
 * @property {boolean} isLive the newest position is shown, so that times run and answers can be given
 * @property {number} level of the headings of stages, 3 to 6
 * @property {(key: string, isOpen: boolean) => boolean} isOpen what the reader chose for something foldable, else the given
 * @property {(key: string, isOpen: boolean) => void} setOpen
 * @property {(story: Story, round: Round, t: Translator) => HTMLElement} [answerForm] for an open round that the user may answer
 * @property {(id: string) => void} retry reads the history of a sub-negotiation again
 *
 * @typedef {object} Stage
 * @property {string} key
 * @property {string} version
 * @property {() => HTMLElement} build
 * @property {(row: HTMLElement) => void} [update] whatever inside a stage changes by itself
 */

import { reconcile } from "../../lib/html.js";
import { candidatesStage, demandStage } from "./demand-stages.js";
import { gapsStage } from "./gap-stage.js";
import { offersStage } from "./offer-stage.js";
import { roundStage } from "./round-stage.js";

/**
 * Make a list show the stages of a story.
 *
 * @param {HTMLElement} list `<ol>` that holds nothing else
 * @param {Story} story
 * @param {Context} context
 */
export function renderStages(list, story, context) {
  const stages = stagesOf(story, context);
  reconcile(list, stages, { key: ({ key }) => key, version: ({ version }) => version, build: ({ build }) => build() });
  const rows = /** @type {HTMLElement[]} */ ([...list.children]);
  stages.forEach(({ update }, i) => update?.(rows[i]));
}

/**
 * @param {Story} story
 * @param {Context} context
 * @returns {Stage[]}
 */
function stagesOf(story, context) {
  const { negotiation } = story;
  const { wanted, candidates, invitation, rounds } = negotiation;
  /** @type {Stage[]} */
  const stages = [];
  if (wanted) stages.push(demandStage(negotiation, wanted, context));
  if (candidates) stages.push(candidatesStage(negotiation, candidates, context));
  if (invitation) stages.push(offersStage(negotiation, invitation, context));
  const waves = wavesOf(negotiation);
  for (const round of [...rounds, null]) {
    const wave = waves.get(round);
    if (wave) stages.push(gapsStage(story, wave, context, renderStages));
    if (!round) break;
    stages.push(roundStage(negotiation, round, context));
    if (round.isOpen && context.isLive && context.answerForm) stages.push(...answerStage(story, round, context));
  }
  return stages;
}

/**
 * Gaps and sub-negotiations belong before the proposal that came after them; the last ones wait for theirs (null).
 *
 * @param {Negotiation} negotiation
 * @returns {Map<Round | null, {gaps: Gap[], subnets: Subnet[]}>}
 */
function wavesOf({ gaps, subnets, rounds }) {
  const waves = new Map();
  const waveAt = (/** @type {number} */ seq) => {
    const round = rounds.find((each) => each.seq > seq) ?? null;
    if (!waves.has(round)) waves.set(round, { gaps: [], subnets: [] });
    return waves.get(round);
  };
  for (const gap of gaps) waveAt(gap.seq).gaps.push(gap);
  for (const subnet of subnets) waveAt(subnet.seq).subnets.push(subnet);
  return waves;
}

/**
 * The form keeps what was typed: it is built once per proposal and language.
 *
 * @param {Story} story
 * @param {Round} round
 * @param {Context} context
 * @returns {Stage[]}
 */
function answerStage(story, round, { t, answerForm }) {
  const { wanted } = story.negotiation;
  const isAnswered = round.answers.some(({ isUser }) => isUser);
  if (!answerForm || !wanted || isAnswered || !round.proposalId) return [];
  const version = JSON.stringify([t.language, round.proposalId, round.seq, wanted.confirm]);
  return [{ key: `answer ${round.seq}`, version, build: () => answerForm(story, round, t) }];
}
