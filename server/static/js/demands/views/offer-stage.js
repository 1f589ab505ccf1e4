/**
 * The offers as they arrive, each a card, and the declines; how many answers are still awaited and until when.
 *
 * @import { Decline, Invitation, Negotiation, Offer } from "../negotiation-types.js"
 * @import { Translator } from "../../ui/i18n.js"
 * @import { Context, Stage } from "./stages.js"
 */

import { element, reconcile, refill, setText } from "../../lib/html.js";
import { number, text } from "../../lib/fields.js";
import { clock, textOf } from "../../ui/views/pieces.js";
import { avatar, chips, inWords, longText, marker, termList, until, who } from "./pieces.js";
import { stageFrame } from "./stage-frame.js";

const SHOWN = 200;

/**
 * @param {Negotiation} negotiation
 * @param {Invitation} invitation
 * @param {Context} context
 * @returns {Stage}
 */
export function offersStage(negotiation, invitation, { t, level, isLive }) {
  const { phase, offers, declines, awaited, names } = negotiation;
  const isOpen = phase === "collecting_offers";
  const answered = offers.length + declines.length;
  const silent = isOpen ? [] : invitation.ids.filter((id) => ![...offers, ...declines].some((answer) => answer.id === id));
  const build = () =>
    stageFrame(
      {
        kind: "offers",
        seq: invitation.seq,
        level,
        title: t.text("stage.offers"),
        extra: [element("span", { class: "count" })],
        when: isOpen ? until(invitation.deadline, isLive, t) : clock(invitation.at, t),
      },
      element("p", { class: "pending" }),
      element("ul", { class: "offers" }),
      element("ul", { class: "declines" }),
    );
  const update = (/** @type {HTMLElement} */ row) => {
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(`.${name}`));
    const count = t.text("stage.offers.count", { answered, invited: invitation.ids.length });
    setText(part("count"), count);
    refill(part("pending"), JSON.stringify([t.language, isOpen, awaited, offers.length, silent.length]), () => pending(awaited, names, isOpen, offers.length, t));
    reconcile(part("offers"), offers.slice(0, SHOWN), { key: ({ seq }) => seq, version: () => t.language, build: (offer) => card(offer, t) });
    const refusals = [...declines.map((decline) => ({ decline, id: decline.id })), ...silent.map((id) => ({ decline: null, id }))];
    reconcile(part("declines"), refusals.slice(0, SHOWN), {
      key: ({ id, decline }) => `${decline ? "no" : "silent"} ${id}`,
      version: () => t.language,
      build: ({ id, decline }) => (decline ? refusal(decline, t) : silence(names.get(id) ?? id, t)),
    });
  };
  return { key: "offers", version: JSON.stringify([t.language, level, invitation.seq, isOpen, isLive]), build, update };
}

/**
 * @param {string[]} awaited
 * @param {Map<string, string>} names
 * @param {boolean} isOpen
 * @param {number} offerCount
 * @param {Translator} t
 */
function pending(awaited, names, isOpen, offerCount, t) {
  if (isOpen && awaited.length) {
    const shown = awaited.slice(0, 8).map((id) => textOf(names.get(id) ?? id, 80));
    if (awaited.length > shown.length) shown.push(t.text("list.others", { count: awaited.length - shown.length }));
    return [element("span", { class: "pulse", "aria-hidden": "true" }), element("span", { dir: "auto" }, t.text("stage.offers.awaited", { names: t.list(shown) }))];
  }
  return isOpen || offerCount ? null : t.text("stage.offers.none");
}

/**
 * @param {Offer} offer
 * @param {Translator} t
 * @returns {HTMLElement}
 */
function card({ id, name, content, capabilities, terms, needs, writtenBy, seq, at }, t) {
  const price = number(terms.price);
  return element(
    "li",
    { class: "offer", dataset: { seq } },
    element(
      "div",
      { class: "head" },
      avatar(name),
      who(name, id),
      price !== null && element("span", { class: "price" }, t.money(price, text(terms.currency))),
    ),
    longText(content, t),
    chips(capabilities.map(inWords), t.text("offer.capabilities")),
    termList(terms, t),
    needs.length > 0 &&
      element("p", { class: "needs" }, element("span", { class: "term" }, t.text("offer.needs")), element("span", { dir: "auto" }, t.list(needs.slice(0, 20).map((need) => inWords(textOf(need, 120)))))),
    element("p", { class: "foot" }, writtenBy ? marker(writtenBy, t) : element("span", { class: "marker" }, t.text("writer.agent")), clock(at, t)),
  );
}

/**
 * @param {Decline} decline
 * @param {Translator} t
 */
function refusal({ id, name, reason, seq, at }, t) {
  return element(
    "li",
    { class: "decline", dataset: { seq } },
    avatar(name),
    who(name, id),
    element("span", { class: "fate", dataset: { fate: "declined" } }, t.text("fate.declined")),
    element("div", { class: "why" }, longText(reason, t, "said")),
    clock(at, t),
  );
}

/**
 * @param {string} name
 * @param {Translator} t
 */
function silence(name, t) {
  return element("li", { class: "decline silent" }, avatar(name), who(name, name), element("span", { class: "fate", dataset: { fate: "silent" } }, t.text("fate.silent")));
}
