/** eventsource-client, which resumes by itself. */

import { gotControl, gotEvent, load, url } from "./lines.mjs";

const { createEventSource } = await load();
const source = createEventSource({
  url,
  onMessage: ({ event, data }) => {
    if (!event) return gotEvent(data);
    if (gotControl(event, data)) source.close();
  },
});
setInterval(() => {}, 1000);
