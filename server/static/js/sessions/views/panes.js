/** Parts of a page that stand side by side where there is room, and are tabs where there is none. */

import { byId } from "../../ui/views/static-texts.js";

/**
 * @param {string} tablistId
 * @param {string} wide the media query of a page with room for all of them
 * @returns {(name: string) => void} shows the part with this id
 */
export function panesView(tablistId, wide) {
  const tabs = /** @type {HTMLElement[]} */ ([...byId(tablistId).querySelectorAll("[role=tab]")]);
  const panes = tabs.map((tab) => byId(tab.getAttribute("aria-controls") ?? ""));
  const roomy = matchMedia(wide);
  let current = 0;

  const show = () => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === current));
      tab.tabIndex = i === current ? 0 : -1;
      panes[i].classList.toggle("off", i !== current && !roomy.matches);
      if (roomy.matches) panes[i].removeAttribute("role");
      else panes[i].setAttribute("role", "tabpanel");
    });
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => {
      current = i;
      show();
    });
    tab.addEventListener("keydown", (event) => {
      const places = /** @type {Record<string, number>} */ ({ ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 });
      if (places[event.key] === undefined) return;
      event.preventDefault();
      current = (places[event.key] + tabs.length) % tabs.length;
      show();
      tabs[current].focus();
    });
  });
  roomy.addEventListener("change", show);
  show();
  return (name) => {
    current = Math.max(0, panes.findIndex((pane) => pane.id === name));
    show();
  };
}
