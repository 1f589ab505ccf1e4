/**
 * A text that nobody may be deceived by, in pieces: what cannot be seen, what turns the direction of writing, long blanks, and letters that
 * look like others are pieces of their own, each with a label that says what it is.
 *
 * @typedef {{text: string, kind: "plain" | "hidden" | "blank" | "odd", label: string}} Piece
 */

// Controls but the line feed and the tab, format characters (directions, zero widths, tags), unassigned and private ones, and blanks that are
// none of the keyboard's.
const HIDDEN = String.raw`[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u2028\u2029\u115f\u1160\u3164\uffa0\u2800\u034f\u180b-\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]`;
const BLANK = String.raw`(?:[\t ]{4,}|(?:[\t ]*\n){3,}|[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+)`;
const SEEN = new RegExp(`(?<blank>${BLANK})|(?<hidden>(?![\\n\\t])${HIDDEN})`, "gu");
const WORD = /[\p{L}\p{M}\p{N}_.-]+/gu;
const SCRIPTS = ["Latin", "Cyrillic", "Greek", "Armenian", "Hebrew", "Arabic", "Cherokee", "Georgian", "Coptic", "Han", "Hiragana", "Katakana", "Hangul", "Thai", "Devanagari"];
const TESTS = SCRIPTS.map((script) => ({ script, test: new RegExp(String.raw`\p{Script=${script}}`, "u") }));
// Scripts that are written together, and do not look alike.
const TOGETHER = new Set(["Han", "Hiragana", "Katakana", "Hangul"]);
// Letters of the compatibility blocks: fullwidth, mathematical, circled.
const STYLED = /[\u2100-\u214f\u2460-\u24ff\uff01-\uff5e\u{1d400}-\u{1d7ff}]/u;

/**
 * The pieces of a text, in order; joined, their texts are the text.
 *
 * @param {string} text
 * @returns {Piece[]}
 */
export function piecesOf(text) {
  /** @type {Piece[]} */
  const pieces = [];
  let at = 0;
  for (const match of text.matchAll(SEEN)) {
    addPlain(pieces, text.slice(at, match.index));
    const found = match[0];
    at = match.index + found.length;
    if (match.groups?.hidden !== undefined) pieces.push({ text: found, kind: "hidden", label: codeOf(found) });
    else pieces.push({ text: found, kind: "blank", label: found.includes("\n") ? `↵ × ${found.split("\n").length - 1}` : `␣ × ${found.length}` });
  }
  addPlain(pieces, text.slice(at));
  return pieces;
}

/**
 * The scripts of the words that mix several of them, with letters that can be taken for one another; none for an honest text.
 *
 * @param {string} text
 * @returns {string[]}
 */
export function mixedScripts(text) {
  const mixed = new Set();
  for (const [word] of text.matchAll(WORD)) {
    const scripts = scriptsOf(word);
    if (scripts.length > 1) for (const script of scripts) mixed.add(script);
  }
  return SCRIPTS.concat("styled").filter((script) => mixed.has(script));
}

/**
 * @param {Piece[]} pieces
 * @param {string} text
 */
function addPlain(pieces, text) {
  let at = 0;
  for (const match of text.matchAll(WORD)) {
    const word = match[0];
    if (scriptsOf(word).length < 2) continue;
    if (match.index > at) pieces.push({ text: text.slice(at, match.index), kind: "plain", label: "" });
    const isLatin = /\p{Script=Latin}/u.test(word);
    for (const letter of word) {
      const isOdd = isLatin ? (/\p{L}/u.test(letter) && !/\p{Script=Latin}/u.test(letter)) || STYLED.test(letter) : !/[\p{N}_.-]/u.test(letter);
      pieces.push(isOdd ? { text: letter, kind: "odd", label: codeOf(letter) } : { text: letter, kind: "plain", label: "" });
    }
    at = match.index + word.length;
  }
  if (at < text.length) pieces.push({ text: text.slice(at), kind: "plain", label: "" });
}

/**
 * The scripts of a word that should not be mixed.
 *
 * @param {string} word
 * @returns {string[]}
 */
function scriptsOf(word) {
  const found = TESTS.filter(({ test }) => test.test(word)).map(({ script }) => script);
  const single = found.filter((script) => !TOGETHER.has(script));
  if (STYLED.test(word)) return [...single, "styled", ...(single.length ? [] : ["Latin"])];
  return single.length > 1 ? single : [];
}

/** @param {string} character */
function codeOf(character) {
  return [...character].map((each) => `U+${(each.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`).join(" ");
}

/**
 * @param {string} text
 * @returns {string} with what could deceive said in brackets, for places that hold text alone
 */
export function visibleText(text) {
  return piecesOf(text).map(({ text: piece, kind, label }) => (kind === "plain" ? piece : `${kind === "odd" ? piece : ""}[${label}]`)).join("");
}
