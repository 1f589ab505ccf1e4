/**
 * Which language the page speaks, its texts, and how it writes times and numbers.
 *
 * The texts are in `strings.js` and in one file a page. A key that is missing shows itself, so that it is seen; a test keeps both
 * lists equal.
 *
 * @typedef {"en" | "zh"} Language
 */

import { en, zh } from "./strings.js";

/** The texts by language that every page has; a page brings its own besides. */
export const STRINGS = { en, zh };
const LOCALES = { en: "en-GB", zh: "zh-CN" };
const STORAGE_KEY = "towow.language";
const LONGEST_CURRENCY = 12; // characters

/**
 * The language to begin with: the remembered one, else the browser's first that the page speaks, else English.
 *
 * @param {string | null} remembered
 * @param {readonly string[]} preferred as in `navigator.languages`
 * @returns {Language}
 */
export function chooseLanguage(remembered, preferred) {
  for (const tag of [remembered ?? "", ...preferred]) {
    const [language] = tag.toLowerCase().split("-");
    if (language === "zh" || language === "en") return language;
  }
  return "en";
}

/**
 * Read the remembered language.
 *
 * @param {Pick<Storage, "getItem"> | null} storage
 * @returns {string | null}
 */
export function rememberedLanguage(storage) {
  try {
    return storage?.getItem(STORAGE_KEY) ?? null;
  } catch {
    return null;
  }
}

/**
 * Remember the language for the next visit, if the browser lets.
 *
 * @param {Pick<Storage, "setItem"> | null} storage
 * @param {Language} language
 */
export function rememberLanguage(storage, language) {
  try {
    storage?.setItem(STORAGE_KEY, language);
  } catch {
    // The next visit begins with the browser's language.
  }
}

export class Translator {
  #strings;
  #number;
  #clock;
  #date;
  #relative;
  #day;

  /**
   * @param {Language} language
   * @param {Partial<Record<Language, Record<string, string>>>} [own] texts of one page
   */
  constructor(language, own = {}) {
    this.language = language;
    this.#strings = /** @type {Record<string, string>} */ ({ ...STRINGS[language], ...own[language] });
    const locale = LOCALES[language];
    this.#number = new Intl.NumberFormat(locale);
    this.#clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
    this.#date = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
    this.#day = new Intl.DateTimeFormat(locale, { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
    this.#relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
  }

  /**
   * A text with its places filled in.
   *
   * @param {string} key
   * @param {Record<string, string | number>} [values] for `{name}`; numbers are written in the language's way
   * @returns {string}
   */
  text(key, values = {}) {
    const template = this.#strings[key] ?? key;
    return template.replace(/\{(\w+)\}/g, (place, name) => {
      const value = values[name];
      return typeof value === "number" ? this.number(value) : (value ?? place);
    });
  }

  /**
   * Whether there is a text under this key.
   *
   * @param {string} key
   * @returns {boolean}
   */
  has(key) {
    return Object.hasOwn(this.#strings, key);
  }

  /**
   * A text that counts: `key.one` or `key.other`, with `{count}`.
   *
   * @param {string} key
   * @param {number} count
   * @returns {string}
   */
  count(key, count) {
    return this.text(`${key}.${count === 1 ? "one" : "other"}`, { count });
  }

  /**
   * @param {number} value
   * @returns {string} with group separators
   */
  number(value) {
    return this.#number.format(value);
  }

  /**
   * @param {string} timestamp ISO-8601
   * @returns {string} the time of day in the reader's zone, with seconds
   */
  clock(timestamp) {
    return format(this.#clock, timestamp);
  }

  /**
   * @param {string} timestamp ISO-8601
   * @returns {string} date and time in the reader's zone
   */
  date(timestamp) {
    return format(this.#date, timestamp);
  }

  /**
   * A calendar day, without a time or a zone.
   *
   * @param {string} day as `YYYY-MM-DD`; anything else is given back as it came
   * @returns {string} with its weekday
   */
  day(day) {
    return /^\d{4}-\d{2}-\d{2}$/.test(day) ? format(this.#day, day) : day;
  }

  /**
   * An amount of money, with at most two decimals.
   *
   * @param {number} amount
   * @param {string} currency ISO 4217; another text stands behind the number, cut to a few characters
   * @returns {string}
   */
  money(amount, currency) {
    const digits = { minimumFractionDigits: 0, maximumFractionDigits: 2 };
    if (/^[A-Z]{3}$/.test(currency)) {
      return new Intl.NumberFormat(LOCALES[this.language], { style: "currency", currency, ...digits }).format(amount);
    }
    return `${new Intl.NumberFormat(LOCALES[this.language], digits).format(amount)}${currency ? ` ${currency.slice(0, LONGEST_CURRENCY)}` : ""}`;
  }

  /**
   * Names as one enumeration.
   *
   * @param {string[]} names
   * @returns {string} such as `A, B and C`
   */
  list(names) {
    return new Intl.ListFormat(LOCALES[this.language], { type: "conjunction" }).format(names);
  }

  /**
   * How long ago, roughly.
   *
   * @param {string} timestamp ISO-8601
   * @param {number} now milliseconds since 1970
   * @returns {string}
   */
  ago(timestamp, now) {
    const seconds = Math.round((Date.parse(timestamp) - now) / 1000);
    if (Number.isNaN(seconds)) return timestamp;
    const distance = Math.abs(seconds);
    if (distance < 45) return this.text("time.now");
    if (distance < 2700) return this.#relative.format(Math.round(seconds / 60), "minute");
    if (distance < 79_200) return this.#relative.format(Math.round(seconds / 3600), "hour");
    if (distance < 2_592_000) return this.#relative.format(Math.round(seconds / 86_400), "day");
    return this.date(timestamp);
  }

  /**
   * A span of time in its largest fitting unit.
   *
   * @param {number} milliseconds not negative
   * @returns {string} such as `120 ms`, `3.4 s`, `5 min`, `2 h`
   */
  span(milliseconds) {
    if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
    if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
    if (milliseconds < 3_600_000) return `${Math.round(milliseconds / 60_000)} min`;
    return `${this.number(Math.round(milliseconds / 3_600_000))} h`;
  }
}

/**
 * @param {Intl.DateTimeFormat} formatter
 * @param {string} timestamp
 * @returns {string}
 */
function format(formatter, timestamp) {
  const time = Date.parse(timestamp);
  return Number.isNaN(time) ? timestamp : formatter.format(time);
}
