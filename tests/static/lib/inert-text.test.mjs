/** The promises of js/lib/inert-text.js: nothing in a text stays hidden, and an honest text stays as it is. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { mixedScripts, piecesOf, visibleText } from "../../../server/static/js/lib/inert-text.js";

const marks = (text) => piecesOf(text).filter(({ kind }) => kind !== "plain").map(({ kind, label }) => `${kind} ${label}`);

describe("pieces", () => {
  for (const [name, text, expected] of [
    ["a right-to-left override", "rm \u202efdp.txt", ["hidden U+202E"]],
    ["isolates and embeddings", "\u2066a\u2069\u202ab", ["hidden U+2066", "hidden U+2069", "hidden U+202A"]],
    ["zero widths", "de\u200blete\u200d\ufeff", ["hidden U+200B", "hidden U+200D", "hidden U+FEFF"]],
    ["controls", "a\u0007b\u001b[31m\u0085", ["hidden U+0007", "hidden U+001B", "hidden U+0085"]],
    ["a carriage return", "safe\rrm -rf", ["hidden U+000D"]],
    ["tags and selectors", "a\u{e0041}\ufe0f", ["hidden U+E0041", "hidden U+FE0F"]],
    ["fillers that are letters", "a\u3164b\u115f", ["hidden U+3164", "hidden U+115F"]],
    ["long blanks", `ls${" ".repeat(400)}; rm`, ["blank ␣ × 400"]],
    ["line breaks that push what follows away", `ls${"\n".repeat(40)}rm`, ["blank ↵ × 40"]],
    ["blanks that are none of the keyboard's", "a\u00a0b\u3000c", ["blank ␣ × 1", "blank ␣ × 1"]],
    ["a Cyrillic letter in a Latin word", "p\u0430ypal", ["odd U+0430"]],
    ["a Greek letter in a Latin word", "/\u03bfpt/srv", ["odd U+03BF"]],
    ["fullwidth letters", "ｒm -rf", ["odd U+FF52"]],
  ]) {
    test(`of a text with ${name} say so`, () => assert.deepEqual(marks(text), expected));
  }

  test("are the text when they are joined", () => {
    for (const text of ["", "a\nb\n\n\n\nc", "\u202e\u0430b x    y", "中文 abc, кириллица"]) assert.equal(piecesOf(text).map((piece) => piece.text).join(""), text);
  });

  test("of an honest text are one", () => {
    for (const text of ["delete_files", "/srv/cache/a-1.txt", "运行 rm -rf /tmp", "удалить файлы", "a b  c\n\nd\te", "naïve café", "删除file", "ファイルを削除する", "αβγ"]) assert.deepEqual(marks(text), []);
  });
});

test("a text for a place without marks has them in brackets", () => {
  assert.equal(visibleText("p\u0430y \u202efdp"), "p\u0430[U+0430]y [U+202E]fdp");
  assert.equal(visibleText("delete_files"), "delete_files");
});

describe("mixed scripts", () => {
  test("are named where one word has several", () => {
    assert.deepEqual(mixedScripts("p\u0430ypal"), ["Latin", "Cyrillic"]);
    assert.deepEqual(mixedScripts("delete files of paypal"), []);
    assert.deepEqual(mixedScripts("delete удалить 删除"), []);
    assert.deepEqual(mixedScripts("ｒm"), ["Latin", "styled"]);
  });
});
