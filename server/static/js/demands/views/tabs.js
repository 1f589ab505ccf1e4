/** The two ways to look at a demand, as tabs: the negotiation, and the raw story of its events. The choice is remembered. */

import { remembered } from "../../ui/shell.js";
import { byId } from "../../ui/views/static-texts.js";
import { tablist } from "../../ui/views/tablist.js";

const NAMES = ["negotiation", "events"];

/**
 * @param {Pick<Storage, "getItem" | "setItem"> | null} storage
 * @param {() => void} onChange
 * @returns {(name: string) => void} chooses a tab by its name
 */
export function tabsView(storage, onChange) {
  const kept = remembered(storage, "towow.tab");
  const tabs = NAMES.map((name) => byId(`tab-${name}`));
  const mark = tablist(tabs, (i) => choose(NAMES[i]));
  let current = "";

  /** @param {string} name */
  const show = (name) => {
    current = name;
    mark(NAMES.indexOf(name));
    NAMES.forEach((each, i) => (byId(tabs[i].getAttribute("aria-controls")).hidden = each !== name));
  };
  /** @param {string} name */
  const choose = (name) => {
    if (name === current) return;
    show(name);
    kept.set(name);
    onChange();
  };
  show(kept.get() === "events" ? "events" : "negotiation");
  return choose;
}
