/** Whether a session is really to be closed, which nobody can undo. @import { Translator } from "../../ui/i18n.js" */

import { byId } from "../../ui/views/static-texts.js";

/**
 * @param {() => void} onConfirm
 * @returns {{open: () => void, render: (t: Translator) => void}}
 */
export function closingView(onConfirm) {
  const dialog = byId("closing");
  byId("closing-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    dialog.close();
    onConfirm();
  });
  byId("closing-keep").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    if (event.target === dialog) dialog.close();
  });
  return {
    open() {
      dialog.showModal();
      byId("closing-keep").focus();
    },
    render(t) {
      byId("closing-confirm").textContent = t.text("chat.close");
    },
  };
}
