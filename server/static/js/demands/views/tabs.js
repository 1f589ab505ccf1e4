/**
 * The two ways to look at a demand, as tabs: the negotiation, and the raw story of its events. The choice is remembered.
 */

import { byId } from "../../ui/views/static-texts.js";

const STORAGE_KEY = "towow.tab";
const NAMES = ["negotiation", "events"];

/**
 * @param {Pick<Storage, "getItem" | "setItem"> | null} storage
 * @param {() => void} onChange
 * @returns {(name: string) => void} chooses a tab by its name
 */
export function tabsView(storage, onChange) {
  const tabs = NAMES.map((name) => byId(`tab-${name}`));
  let current = "negotiation";

  /** @param {string} name */
  const show = (name) => {
    current = name;
    NAMES.forEach((each, i) => {
      const isShown = each === name;
      tabs[i].setAttribute("aria-selected", String(isShown));
      tabs[i].tabIndex = isShown ? 0 : -1;
      byId(tabs[i].getAttribute("aria-controls")).hidden = !isShown;
    });
  };
  /** @param {string} name */
  const choose = (name) => {
    if (name === current) return;
    show(name);
    try {
      storage?.setItem(STORAGE_KEY, name);
    } catch {
      // It lasts for this visit.
    }
    onChange();
  };

  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(NAMES[i]));
    tab.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const steps = /** @type {Record<string, number>} */ ({ ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: NAMES.length - 1 });
      const next = steps[event.key];
      if (next === undefined) return;
      event.preventDefault();
      const place = (next + NAMES.length) % NAMES.length;
      choose(NAMES[place]);
      tabs[place].focus();
    });
  });
  show(remembered(storage));
  return choose;
}

/**
 * @param {Pick<Storage, "getItem"> | null} storage
 * @returns {string}
 */
function remembered(storage) {
  try {
    return storage?.getItem(STORAGE_KEY) === "events" ? "events" : "negotiation";
  } catch {
    return "negotiation";
  }
}
