/**
 * The chosen demand's negotiation at the position that is looked at: its outcome first, then the stages.
 *
 * Whoever looks at the newest step is taken along to the next one; in a replay the step that is looked at is shown and
 * marked. A reader of something else is not moved.
 *
 * @import { StoredEvent } from "../../lib/types.js"
 * @import { PageState } from "../state.js"
 * @import { Story } from "../story.js"
 * @import { Translator } from "../../ui/i18n.js"
 */

import { element, refill } from "../../lib/html.js";
import { serverNow } from "../../lib/server-clock.js";
import { answerForm } from "./answer.js";
import { renderNow } from "./now.js";
import { outcomeCard } from "./outcome.js";
import { renderStages } from "./stages.js";
import { byId } from "../../ui/views/static-texts.js";
import { bringIntoView, following, placeOf } from "./scrolling.js";
import { waiting, problem } from "../../ui/views/pieces.js";

const JUST_ASKED_MS = 8000;

/**
 * @param {{retryChosen: () => void, retryBranch: (id: string) => void, showPanel: () => void}} actions
 * @returns {{render: (state: PageState, story: Story | null, at: StoredEvent | undefined, t: Translator) => void}}
 */
export function negotiationView({ retryChosen, retryBranch, showPanel }) {
  const panel = byId("negotiation-panel");
  const list = byId("stages");
  /** What the reader opened or closed, by key. @type {Map<string, boolean>} */
  const opened = new Map();
  let shownId = "";
  let shownSeq = 0;
  const follower = following(() => placeOf(panel, shownSeq));
  byId("now-answer").addEventListener("click", () => {
    showPanel();
    const form = /** @type {HTMLElement | null} */ (list.querySelector(".answer-form"));
    bringIntoView(form);
    form?.querySelector("button")?.focus({ preventScroll: true });
  });

  return {
    render(state, story, at, t) {
      if (!story || !state.timeline) {
        shownId = "";
        return;
      }
      const { negotiation } = story;
      const { outcome, wanted } = negotiation;
      const isLive = state.replaySeq === null;
      const isSame = negotiation.id === shownId;
      if (!isSame) {
        opened.clear();
        list.replaceChildren();
        shownSeq = 0;
        follower.isOn = false;
      }
      // A user with an awaited answer should not have to look for the form.
      byId("now-answer").hidden = !(isLive && negotiation.awaitsUser && !wanted?.parent);
      renderNow(byId("steps"), byId("now"), byId("now-time"), negotiation, isLive, t);
      refill(byId("outcome"), JSON.stringify([t.language, negotiation.id, outcome?.seq]), () => outcome && outcomeCard(negotiation, outcome, t, 3));
      renderStages(list, story, {
        t,
        isLive,
        level: 3,
        isOpen: (key, isOpen) => opened.get(key) ?? isOpen,
        setOpen: (key, isOpen) => void opened.set(key, isOpen),
        answerForm: wanted?.parent ? undefined : answerForm,
        retry: retryBranch,
      });
      refill(byId("stages-end"), JSON.stringify([t.language, story.history, story.error, story.trimmedBefore, negotiation.phase === "new"]), () => ending(story, retryChosen, t));
      const seq = at?.seq ?? 0;
      const isFirst = shownSeq === 0 && story.history === "ready";
      // The author of a new demand wants to see what comes; an older demand is read from the top.
      if (isFirst && wanted && !outcome) follower.isOn = serverNow() - Date.parse(wanted.at) < JUST_ASKED_MS;
      if (seq !== shownSeq && (isLive ? follower.isOn : shownSeq > 0)) bringIntoView(placeOf(panel, seq));
      mark(panel, isLive ? null : placeOf(panel, seq));
      shownId = negotiation.id;
      if (story.history === "ready") shownSeq = seq;
    },
  };
}

/**
 * @param {HTMLElement} panel
 * @param {HTMLElement | null} place
 */
function mark(panel, place) {
  for (const old of panel.querySelectorAll(".at")) if (old !== place) old.classList.remove("at");
  place?.classList.add("at");
}

/**
 * What stands below the stages: that the history is on its way, could not be read, or begins too late to be shown.
 *
 * @param {Story} story
 * @param {() => void} retry
 * @param {Translator} t
 */
function ending({ history, error, trimmedBefore, negotiation }, retry, t) {
  if (history === "failed") {
    return problem(t.text("timeline.failed", { message: error }), retry, t);
  }
  if (history === "loading") return waiting(t.text("timeline.loading"), null);
  if (negotiation.phase !== "new") return null;
  return element("p", { class: "muted note-box" }, t.text(trimmedBefore ? "negotiation.trimmed" : "negotiation.none", { seq: String(trimmedBefore) }));
}
