/** A row of tabs as the keyboard and screen readers expect it: arrows, Home and End choose, one of them is in the tab order. */

/**
 * @param {HTMLElement[]} tabs
 * @param {(index: number) => void} onChoose
 * @returns {(index: number) => void} marks a tab as the chosen one
 */
export function tablist(tabs, onChoose) {
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => onChoose(i));
    tab.addEventListener("keydown", (event) => {
      const places = /** @type {Record<string, number>} */ ({ ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 });
      if (places[event.key] === undefined) return;
      event.preventDefault();
      const next = (places[event.key] + tabs.length) % tabs.length;
      onChoose(next);
      tabs[next].focus();
    });
  });
  return (current) =>
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === current));
      tab.tabIndex = i === current ? 0 : -1;
    });
}
