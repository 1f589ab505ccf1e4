/** Parts of a page that stand side by side where there is room, and are tabs where there is none. */

import { byId } from "../../ui/views/static-texts.js";
import { tablist } from "../../ui/views/tablist.js";

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

  const mark = tablist(tabs, (i) => {
    current = i;
    show();
  });

  const show = () => {
    mark(current);
    panes.forEach((pane, i) => {
      pane.classList.toggle("off", i !== current && !roomy.matches);
      if (roomy.matches) pane.removeAttribute("role");
      else pane.setAttribute("role", "tabpanel");
    });
  };
  roomy.addEventListener("change", show);
  show();
  return (name) => {
    current = Math.max(0, panes.findIndex((pane) => pane.id === name));
    show();
  };
}
