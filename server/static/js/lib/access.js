/**
 * The page's login: read once, reported to listeners, with the CSRF token in memory and nowhere else.
 *
 * The cookie is HttpOnly, so the page never sees it. What is on the screen about it belongs to `views/login.js`.
 *
 * @typedef {object} Session
 * @property {string | null} name null: nobody is logged in
 * @property {string[]} read globs over stream names
 * @property {string[]} append
 * @property {string[]} answer
 * @property {string[]} operate
 * @property {string[]} manage
 * @property {string | null} expires_at ISO-8601
 * @property {string} csrf
 * @property {"off" | "token" | "jwt"} auth
 *
 * @typedef {"unknown" | "open" | "in" | "out"} AccessState `open`: there are no logins; `out`: a login is needed
 */

const NOBODY = { name: null, read: [], append: [], answer: [], operate: [], manage: [], csrf: "", expires_at: null };

/** A login that failed: `status` 0 when the server did not answer. */
export class LoginFailed extends Error {
  /**
   * @param {number} status
   * @param {string} message of the server, or empty
   */
  constructor(status, message) {
    super(message);
    this.name = "LoginFailed";
    this.status = status;
  }
}

export class Access {
  #fetch;
  /** @type {Session | null} */
  #session = null;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** The question that is under way. @type {Promise<void> | null} */
  #asking = null;

  /** @param {(url: string, init?: RequestInit) => Promise<Response>} [fetch] */
  constructor(fetch = (url, init) => globalThis.fetch(url, init)) {
    this.#fetch = fetch;
  }

  /** The last answer of the server; null before the first. @returns {Session | null} */
  get session() {
    return this.#session;
  }

  /** @returns {AccessState} */
  get state() {
    if (!this.#session) return "unknown";
    if (this.#session.auth === "off") return "open";
    return this.#session.name === null ? "out" : "in";
  }

  /** What every change carries. @returns {Record<string, string>} */
  get headers() {
    return this.#session?.csrf ? { "X-CSRF-Token": this.#session.csrf } : {};
  }

  /** @param {() => void} listener called after every change */
  onChange(listener) {
    this.#listeners.add(listener);
  }

  /** Ask the server; what was known stays when it does not answer. @returns {Promise<void>} */
  load() {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #ask() {
    try {
      const response = await this.#fetch("/api/session", { cache: "no-store" });
      if (response.ok) this.#set(await response.json());
    } catch {
      // The page tries without knowing; a 401 then means that a login is needed.
    }
  }

  /** Resolves as soon as requests may succeed: at once, unless a login is needed first. @returns {Promise<void>} */
  async ready() {
    if (this.state === "unknown") await this.load();
    if (this.state !== "out") return;
    await /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const listener = () => {
          if (this.state === "out") return;
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      })
    );
  }

  /** The server does not accept the login any more: a 401, or a stream that ended because its token expired. */
  refused() {
    if (this.state === "open") return;
    this.#set({ auth: "token", ...this.#session, ...NOBODY });
  }

  /**
   * @param {string} token
   * @returns {Promise<void>} rejects with `LoginFailed`
   */
  async logIn(token) {
    let response;
    try {
      const headers = { "Content-Type": "application/json" };
      response = await this.#fetch("/api/login", { method: "POST", headers, body: JSON.stringify({ token }) });
    } catch {
      throw new LoginFailed(0, "");
    }
    const body = await response.json().catch(() => null);
    if (!response.ok) throw new LoginFailed(response.status, String(body?.error?.message ?? ""));
    this.#set(body);
  }

  /** Forget the cookie. @returns {Promise<void>} rejects with `LoginFailed` when the server did not do so */
  async logOut() {
    const headers = { "Content-Type": "application/json", ...this.headers };
    const response = await this.#fetch("/api/logout", { method: "POST", headers, body: "{}" }).catch(() => null);
    if (!response?.ok) throw new LoginFailed(response?.status ?? 0, "");
    this.refused();
  }

  /** @param {Session} session */
  #set(session) {
    this.#session = session;
    for (const listener of [...this.#listeners]) listener();
  }
}

/** The page's own. */
export const access = new Access();
