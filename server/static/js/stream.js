/** The stream module under its documented URL; it stands in `lib/event-stream.js`. */

export * from "./lib/event-stream.js";
