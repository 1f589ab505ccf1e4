/**
 * What the browser provides to a stream, in one object, so that tests can put a clock and a fake server in its place.
 *
 * @typedef {object} Environment
 * @property {new (url: string) => EventSource} EventSource
 * @property {(url: string, init?: RequestInit) => Promise<Response>} fetch
 * @property {Pick<Storage, "getItem" | "setItem" | "removeItem"> | null} localStorage null when the browser refuses it
 * @property {(run: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now milliseconds since 1970
 * @property {() => number} random 0 inclusive to 1 exclusive
 * @property {(type: string, listener: (event?: any) => void) => void} addEventListener of the window
 * @property {(type: string, listener: (event?: any) => void) => void} removeEventListener of the window
 * @property {() => boolean} isOnline
 * @property {() => boolean} isVisible
 * @property {Pick<LockManager, "request"> | null} [locks] shared by the tabs of an origin; null without a secure context
 * @property {(new (name: string) => BroadcastChannel) | null} [BroadcastChannel]
 */

/** The real browser. @returns {Environment} */
export function browserEnvironment() {
  return {
    EventSource: window.EventSource,
    fetch: (url, init) => window.fetch(url, init),
    localStorage: readStorage(),
    setTimeout: (run, milliseconds) => window.setTimeout(run, milliseconds),
    clearTimeout: (timer) => window.clearTimeout(timer),
    now: () => Date.now(),
    random: () => Math.random(),
    addEventListener: (type, listener) => window.addEventListener(type, listener),
    removeEventListener: (type, listener) => window.removeEventListener(type, listener),
    isOnline: () => navigator.onLine,
    isVisible: () => document.visibilityState === "visible",
    locks: navigator.locks ?? null,
    BroadcastChannel: window.BroadcastChannel ?? null,
  };
}

/** The page's storage, or null where reading the property already throws (blocked cookies). @returns {Storage | null} */
export function readStorage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
