/** The promises of the layers: each folder imports itself and what its row names, and no import leads back to where it began. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const JS = fileURLToPath(new URL("../../server/static/js/", import.meta.url));
const PUBLIC = ["clients", "components", "services"]; // for the pages of others, under documented URLs
const SURFACES = ["demands", "sessions", "tasks", "generations", "tools"];
/** What each folder imports besides itself. */
const LAYERS = { lib: [], ui: ["lib"], "": ["lib"] };
for (const name of PUBLIC) LAYERS[name] = ["lib", ...PUBLIC];
for (const name of SURFACES) LAYERS[name] = ["lib", "ui"];
LAYERS.tasks.push(...PUBLIC); // the page of the tasks shows them at work

const FILES = readdirSync(JS, { recursive: true }).filter((name) => name.endsWith(".js"));
const folderOf = (name) => (name.includes("/") ? name.split("/")[0] : "");

/** What a module imports, as names of files; what stands in its comments are types, which it may take from one that imports it. */
function importsOf(name, withTypes) {
  const source = readFileSync(`${JS}${name}`, "utf8");
  const read = withTypes ? source : source.replace(/\/\*\*[^]*?\*\//g, "");
  return [...read.matchAll(/\b(?:from|import)[\s(]*"(\.[^"]+)"/g)].map((match) => posix.join(posix.dirname(name), match[1]));
}

describe("the layers", () => {
  test("each folder has a row, and each surface the same files", () => {
    assert.deepEqual([...new Set(FILES.map(folderOf))].sort(), Object.keys(LAYERS).sort());
    const expected = SURFACES.flatMap((surface) => ["api", "feed", "page", "state", "strings"].map((file) => `${surface}/${file}.js`));
    assert.deepEqual(expected.filter((name) => !FILES.includes(name)), []);
  });

  test("a module imports its own folder and what the row of it names", () => {
    const arrows = FILES.flatMap((name) => importsOf(name, true).map((target) => [name, target]));
    assert.ok(arrows.length > FILES.length);
    const isWrong = ([name, target]) => !FILES.includes(target) || ![folderOf(name), ...LAYERS[folderOf(name)]].includes(folderOf(target));
    assert.deepEqual(arrows.filter(isWrong), []);
  });

  test("no import leads back to where it began", () => {
    const done = new Set();
    const follow = (name, way) => {
      assert.ok(!way.includes(name), [...way, name].join(" → "));
      if (done.has(name)) return;
      for (const target of importsOf(name, false)) follow(target, [...way, name]);
      done.add(name);
    };
    for (const name of FILES) follow(name, []);
  });
});
