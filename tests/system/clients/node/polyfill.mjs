/** event-source-polyfill: over fetch, outside a browser. */

import { CONTROLS, gotControl, gotEvent, load, url } from "./lines.mjs";

const module = await load();
const { EventSourcePolyfill } = module.default ?? module;
const source = new EventSourcePolyfill(url, { heartbeatTimeout: 60_000 });
source.onmessage = (event) => gotEvent(event.data);
source.onerror = () => {};
for (const control of CONTROLS) {
  source.addEventListener(control, (event) => {
    if (gotControl(control, event.data)) source.close();
  });
}
setInterval(() => {}, 1000);
