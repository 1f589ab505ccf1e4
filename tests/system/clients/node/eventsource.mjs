/** The packages that have the browser's interface. */

import { CONTROLS, gotControl, gotEvent, load, url } from "./lines.mjs";

const module = await load();
const EventSource = module.EventSource ?? module.default;
const source = new EventSource(url);
source.onmessage = (event) => gotEvent(event.data);
source.addEventListener("error", () => {});
for (const control of CONTROLS) {
  source.addEventListener(control, (event) => {
    if (gotControl(control, event.data)) source.close();
  });
}
setInterval(() => {}, 1000);
