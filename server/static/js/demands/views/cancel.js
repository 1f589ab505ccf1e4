/**
 * Ending a negotiation: a dialog to confirm it, with an optional reason; errors stand next to the buttons.
 *
 * @import { Translator } from "../../ui/i18n.js"
 */

import { cancelDemand } from "../api.js";
import { describeRefusal } from "./answer.js";
import { byId } from "../../ui/views/static-texts.js";

/** @returns {{open: (id: string, userId: string) => void, render: (t: Translator) => void}} */
export function cancelView() {
  const dialog = byId("cancel");
  const reason = byId("cancel-reason");
  const message = byId("cancel-message");
  const confirm = byId("cancel-confirm");
  /** @type {Translator} */
  let t;
  let target = { id: "", userId: "" };

  const send = async () => {
    confirm.disabled = true;
    confirm.textContent = t.text("cancel.sending");
    message.textContent = "";
    try {
      await cancelDemand(target.id, target.userId, reason.value.trim());
      dialog.close();
      byId("now").focus({ preventScroll: true });
    } catch (error) {
      message.textContent = t.text("cancel.failed", { message: describeRefusal(error, t) });
    } finally {
      confirm.disabled = false;
      confirm.textContent = t.text("cancel.confirm");
    }
  };
  byId("cancel-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!confirm.disabled) void send();
  });
  byId("cancel-keep").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    if (event.target === dialog) dialog.close();
  });

  return {
    open(id, userId) {
      target = { id, userId };
      message.textContent = "";
      reason.value = "";
      dialog.showModal();
      byId("cancel-keep").focus();
    },
    render(translator) {
      t = translator;
      message.textContent = "";
    },
  };
}
