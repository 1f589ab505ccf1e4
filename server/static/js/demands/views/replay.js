/**
 * Walking through the history by seq: a slider over the events of the chosen demand and its sub-negotiations.
 *
 * It only chooses the position; what is shown there is `story.js`. At the newest position ("live") it moves along with new
 * events, anywhere else it stays.
 *
 * @import { StoredEvent } from "../../lib/types.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { NameOf } from "../sentence.js"
 *
 * @typedef {object} ReplayModel
 * @property {StoredEvent[]} positions ascending by seq
 * @property {number} index the position that is shown
 * @property {boolean} isLive
 * @property {boolean} hasEnded nothing will be added
 * @property {string} rootId demand whose events need no name in the label
 * @property {NameOf} nameOf
 * @property {Translator} t
 */

import { icon, fill } from "../../lib/html.js";
import { sentenceOf } from "../sentence.js";
import { drawTrack } from "./replay-track.js";
import { byId } from "../../ui/views/static-texts.js";

const STEP_MS = 900; // between two events while it plays
const LONGEST_PLAY_MS = 30_000; // a long history plays faster

/**
 * @param {(index: number | null) => void} choose a position; null: live
 * @returns {{render: (model: ReplayModel | null) => void}}
 */
export function replayView(choose) {
  const player = byId("player");
  const range = byId("replay-range");
  const label = byId("replay-label");
  const play = byId("replay-play");
  const live = byId("replay-live");
  /** @type {ReplayModel | null} */
  let model = null;
  /** @type {number | undefined} */
  let timer;
  let isPlaying = false;

  const last = () => (model ? model.positions.length - 1 : 0);
  const stop = () => {
    window.clearTimeout(timer);
    isPlaying = false;
  };
  const tick = () => {
    if (!model) return stop();
    const next = model.index + 1;
    const isDone = next >= last();
    if (isDone) stop();
    else timer = window.setTimeout(tick, Math.min(STEP_MS, LONGEST_PLAY_MS / model.positions.length));
    // Playing ends where it is live; with an event that comes at that moment it is shown right away.
    choose(isDone ? null : next);
  };
  const toggle = () => {
    if (!model) return;
    if (isPlaying) {
      stop();
      choose(model.index);
      return;
    }
    isPlaying = true;
    label.setAttribute("aria-live", "off");
    if (model.isLive || model.index >= last()) choose(0);
    else choose(model.index);
    timer = window.setTimeout(tick, STEP_MS);
  };
  /** @param {number} index */
  const goTo = (index) => {
    stop();
    label.setAttribute("aria-live", "polite");
    choose(Math.min(last(), Math.max(0, index)));
  };

  range.addEventListener("input", () => {
    stop();
    label.setAttribute("aria-live", "off"); // the slider announces its own value
    choose(Number(range.value) - 1);
  });
  byId("replay-first").addEventListener("click", () => goTo(0));
  byId("replay-previous").addEventListener("click", () => goTo((model?.index ?? 0) - 1));
  byId("replay-next").addEventListener("click", () => goTo((model?.index ?? 0) + 1));
  play.addEventListener("click", toggle);
  live.addEventListener("click", () => {
    stop();
    choose(null);
  });

  return {
    render(next) {
      if (!next || next.rootId !== model?.rootId) stop();
      model = next;
      player.hidden = !next || next.positions.length === 0;
      if (!next || player.hidden) return;
      const { positions, index, isLive, hasEnded, t } = next;
      const text = labelOf(next);
      player.dataset.live = String(isLive);
      range.max = String(positions.length);
      range.value = String(index + 1);
      range.setAttribute("aria-valuetext", text);
      if (isLive) label.setAttribute("aria-live", "off");
      if (label.textContent !== text) {
        label.textContent = text;
        label.title = text;
      }
      byId("replay-first").disabled = index <= 0;
      byId("replay-previous").disabled = index <= 0;
      byId("replay-next").disabled = index >= positions.length - 1;
      play.disabled = positions.length < 2;
      name(play, t.text(isPlaying ? "replay.pause" : "replay.play"), isPlaying ? "pause" : "play");
      live.textContent = t.text(hasEnded ? "replay.end" : "replay.live");
      live.setAttribute("aria-pressed", String(isLive));
      drawTrack(byId("replay-track"), positions, index);
    },
  };
}

/**
 * @param {HTMLElement} button
 * @param {string} text
 * @param {string} picture
 */
function name(button, text, picture) {
  if (button.getAttribute("aria-label") === text) return;
  button.setAttribute("aria-label", text);
  button.title = text;
  fill(button, icon(picture));
}

/**
 * @param {ReplayModel} model
 * @returns {string} such as "Event 5 of 14: Bob offers for ¥3,000, 12:00:03"
 */
function labelOf({ positions, index, rootId, nameOf, t }) {
  const event = positions[index];
  if (!event) return t.text("replay.before", { count: positions.length });
  const id = event.stream.slice("demand:".length);
  const what = sentenceOf(event, t, nameOf).replace(/[.。]$/, "");
  const values = { n: index + 1, m: positions.length, what, when: t.clock(event.timestamp), id };
  return t.text(id === rootId ? "replay.label" : "replay.label.nested", values);
}
