/** fetch-event-source and its fork; both think that they are in a page. */

import { gotControl, gotEvent, load, url } from "./lines.mjs";

globalThis.window = globalThis;
globalThis.document = { hidden: false, visibilityState: "visible", addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await load();
const over = new AbortController();
fetchEventSource(url, {
  signal: over.signal,
  openWhenHidden: true,
  onopen: async (response) => {
    if (response.status === 204) over.abort(); // the stream has ended, and all of it was here
  },
  onmessage: ({ event, data }) => {
    if (!event) return data && gotEvent(data);
    if (gotControl(event, data)) over.abort();
  },
  onclose: () => {
    throw new Error("again");
  },
  onerror: () => undefined,
}).catch(() => {});
setInterval(() => {}, 1000);
