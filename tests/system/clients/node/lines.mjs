/** What every client program prints, and where the packages are. */

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

export const [name, url] = process.argv.slice(2);
export const CONTROLS = ["ready", "reset", "rotate", "end", "damaged"];

const require = createRequire(`${process.env.NODE_MODULES}/`);

/** @returns {Promise<any>} the package that is tried */
export async function load() {
  return import(pathToFileURL(require.resolve(name)).href);
}

/** @param {string} text the data of an event without a name; eventsource 2 puts what a cut frame left before it, on a line of its own */
export function gotEvent(text) {
  const data = text.slice(text.lastIndexOf("\n") + 1);
  process.stdout.write(`${JSON.stringify({ revision: JSON.parse(data).revision, bytes: data.length })}\n`);
}

/**
 * @param {string} control
 * @param {string} data
 * @returns {boolean} whether the stream is over: a server that stops, or is full, asks to come again
 */
export function gotControl(control, data) {
  process.stdout.write(`${JSON.stringify({ control })}\n`);
  return control === "end" && !["shutdown", "capacity"].includes(JSON.parse(data).reason);
}
