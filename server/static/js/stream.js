/** The stream module under its documented URL; it stands in `lib/stream.js`. */

export * from "./lib/stream.js";
