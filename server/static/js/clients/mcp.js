/**
 * Source 004's `SSEClient`: what the tools of a session do, as callbacks, and the way to answer what they ask.
 *
 * It owns its connection alone: the browser's own retry is never left running, `disconnect()` leaves no timer, and what came
 * before an interruption is not reported twice. A token never stands in a URL: each connection has a ticket of its own, good
 * for its streams alone. Without a token the page's cookie counts. `EventStream` in `../stream.js` is for pages that show the connection.
 *
 * @import { Environment } from "../lib/environment.js"
 *
 * @typedef {string | (() => string | Promise<string>)} Token a function is called for each connection, so it may be renewed
 *
 * @typedef {object} ClientOptions
 * @property {string} [baseUrl] of the server, without a slash at its end; default: the page's own
 * @property {() => Record<string, string>} [headers] sent with an answer, as the CSRF token of a page with a cookie
 * @property {number} [jitter] 0 to 1; default 0.1
 * @property {Partial<Environment>} [environment] replaces parts of the browser
 */

import { Connection } from "../lib/connection.js";
import { isAfter, placed } from "../lib/cursor.js";
import { browserEnvironment } from "../lib/environment.js";
import { Reconnector } from "./retry-schedule.js";
import { parseFrame } from "./frames.js";

const BASE = "/agent_backend/api/sse";
const HEARTBEAT_SECONDS = 15; // until the server has sent its own
const SILENT_HEARTBEATS = 2.5;

export class SSEClient {
  /** Attempts in a row before it gives up. */
  maxReconnectAttempts = 5;
  /** Milliseconds before the first of them; each further one waits twice as long. */
  reconnectDelay = 1000;

  /** @type {(() => void) | null} */
  onConnectionOpen = null;
  /** @type {((data: any) => void) | null} */
  onToolStatusChange = null;
  /** @type {((data: any) => void) | null} */
  onPermissionRequest = null;
  /** @type {((data: any) => void) | null} */
  onToolResult = null;
  /** @type {((data: any) => void) | null} */
  onPermissionCleared = null;
  /** @type {((data: any) => void) | null} */
  onResultCleared = null;
  /** @type {((data: any) => void) | null} */
  onPermissionResponseResult = null;
  /** @type {((timestamp: number) => void) | null} seconds since 1970 */
  onHeartbeat = null;
  /** @type {((message: string) => void) | null} */
  onError = null;
  /** @type {(() => void) | null} */
  onMaxReconnectAttemptsReached = null;

  #sessionId;
  #token;
  #options;
  /** @type {Environment} */
  #env;
  #reconnector;
  /** @type {Connection | null} */
  #connection = null;
  #isWanted = false;
  #isConnected = false;
  /** Counts connections, so that a ticket that comes too late opens none. */
  #generation = 0;
  /** The id of the last event that was reported; empty before the first. */
  #cursor = "";
  #epoch = "";
  /** Ids of requests that are not answered. @type {Set<string>} */
  #pending = new Set();
  #online = () => this.#comeBack();

  /**
   * @param {string} sessionId
   * @param {Token | null} [token] none: the cookie of the page
   * @param {ClientOptions} [options]
   */
  constructor(sessionId, token = null, options = {}) {
    this.#sessionId = sessionId;
    this.#token = token;
    this.#options = { baseUrl: "", headers: () => ({}), jitter: 0.1, ...options };
    const browser = typeof window === "undefined" ? {} : browserEnvironment();
    this.#env = /** @type {Environment} */ ({ ...browser, ...options.environment });
    const policy = () => ({ attempts: this.maxReconnectAttempts, firstMs: this.reconnectDelay, jitter: this.#options.jitter });
    this.#reconnector = new Reconnector(this.#env, policy, () => void this.#open(), () => this.onMaxReconnectAttemptsReached?.());
  }

  /**
   * Connect; a connection that is open is closed first. An event that was reported is not reported again.
   */
  connect() {
    this.disconnect();
    this.#isWanted = true;
    this.#env.addEventListener("online", this.#online);
    void this.#open();
  }

  /** End the connection: no timer and no listener is left, and nothing is called back any more. */
  disconnect() {
    this.#isWanted = false;
    this.#env.removeEventListener("online", this.#online);
    this.#reconnector.succeeded();
    this.#close();
  }

  /**
   * Answer what a tool asks. Without an id it is the one request that waits; with several of them nothing is answered.
   *
   * @param {boolean} approved
   * @param {string} [reason]
   * @param {string} [permissionId]
   * @returns {Promise<boolean>} whether this answer counts; false after `onError` was called with the reason
   */
  async approvePermission(approved, reason = "", permissionId) {
    const id = permissionId ?? (this.#pending.size === 1 ? [...this.#pending][0] : undefined);
    try {
      const body = JSON.stringify({ approved, reason, ...(id !== undefined && { permission_id: id }) });
      const headers = { "Content-Type": "application/json", ...this.#options.headers(), ...(await this.#authorization()) };
      const response = await this.#fetch(`${BASE}/permission-response/${this.#path}`, { method: "POST", headers, body });
      const result = await response.json().catch(() => null);
      if (response.ok) return result?.success === true;
      this.onError?.(String(result?.error?.message ?? `HTTP ${response.status}`));
    } catch (error) {
      this.onError?.(String(error));
    }
    return false;
  }

  /** @returns {Promise<any>} `{status, connected, pending: […], …}`; null on failure */
  async checkHealth() {
    try {
      const response = await this.#fetch(`${BASE}/health/${this.#path}`, { headers: await this.#authorization() });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  /**
   * Call back for an event; a type that is not known is warned about and passed over.
   *
   * @param {any} event `{type, data}`, a heartbeat `{type, timestamp}` or an error `{type, message}`
   */
  handleEvent(event) {
    const { type, data } = event ?? {};
    switch (type) {
      case "tool_status":
        return this.onToolStatusChange?.(data);
      case "permission_request":
        if (data?.permission_id) this.#pending.add(data.permission_id);
        return this.onPermissionRequest?.(data);
      case "tool_result":
        return this.onToolResult?.(data);
      case "permission_cleared":
        this.#pending.delete(data?.permission_id);
        return this.onPermissionCleared?.(data);
      case "result_cleared":
        return this.onResultCleared?.(data);
      case "permission_response_result":
        this.#pending.delete(data?.permission_id);
        return this.onPermissionResponseResult?.(data);
      case "heartbeat":
        return this.onHeartbeat?.(event.timestamp);
      case "error":
        return this.onError?.(String(event.message ?? data?.message ?? ""));
      default:
        console.warn(`SSEClient: unknown event type ${JSON.stringify(type)}`);
        return undefined;
    }
  }

  /** Whether the stream is open and `onConnectionOpen` was called. @returns {boolean} */
  get isConnected() {
    return this.#isConnected;
  }

  get #path() {
    return encodeURIComponent(this.#sessionId);
  }

  async #open() {
    this.#close();
    const generation = this.#generation;
    let url;
    try {
      url = await this.#streamUrl();
    } catch (error) {
      if (generation !== this.#generation) return;
      this.onError?.(error instanceof Error ? error.message : String(error));
      if (generation === this.#generation) this.#interrupted();
      return;
    }
    if (generation !== this.#generation || !this.#isWanted) return;
    this.#connection = new Connection(this.#env, url, HEARTBEAT_SECONDS * SILENT_HEARTBEATS * 1000, {
      onFrame: (name, data, id) => generation === this.#generation && this.#frame(name, data, id),
      onLost: () => this.#interrupted(),
      onRefused: () => this.#interrupted(),
    });
  }

  #close() {
    this.#generation += 1;
    this.#isConnected = false;
    this.#connection?.close();
    this.#connection = null;
  }

  #interrupted() {
    this.#close();
    if (!this.#isWanted) return;
    // Without a network no attempt is spent: `online` brings it back.
    if (this.#env.isOnline()) this.#reconnector.plan();
    else this.#reconnector.cancel();
  }

  #comeBack() {
    this.#reconnector.succeeded();
    if (this.#connection === null) void this.#open();
  }

  /**
   * @param {string} name
   * @param {string} text
   * @param {string} id
   */
  #frame(name, text, id) {
    const frame = parseFrame(text);
    if (frame === undefined) return;
    if (name === "event") this.#event(typeof frame?.seq === "number" ? placed(frame, id) : frame);
    else if (name === "ready") this.#ready(frame);
    else if (name === "reset") this.#cursor = String(Math.max(0, frame.oldest_seq - 1));
    else if (name === "rotate") void this.#open();
    else this.#interrupted();
  }

  /** @param {{epoch: string, cursor?: string, keepalive_seconds?: number}} frame */
  #ready({ epoch, cursor, keepalive_seconds }) {
    this.#epoch = epoch;
    if (cursor && !isAfter(this.#cursor, cursor)) this.#cursor = cursor;
    this.#isConnected = true;
    if (keepalive_seconds) this.#connection?.allowSilence(keepalive_seconds * SILENT_HEARTBEATS * 1000);
    this.#reconnector.succeeded();
    this.onConnectionOpen?.();
  }

  /** @param {any} event */
  #event(event) {
    if (event?.cursor) {
      if (!isAfter(event.cursor, this.#cursor)) return;
      this.#cursor = event.cursor;
    }
    this.handleEvent(event);
  }

  async #streamUrl() {
    const query = new URLSearchParams();
    if (this.#cursor) query.set("since_seq", this.#cursor);
    if (this.#cursor && this.#epoch) query.set("epoch", this.#epoch);
    if (this.#token) query.set("ticket", await this.#ticket());
    return `${this.#options.baseUrl}${BASE}/events/${this.#path}?${query}`;
  }

  async #ticket() {
    const headers = { "Content-Type": "application/json", ...(await this.#authorization()) };
    const body = JSON.stringify({ streams: [`mcp:${this.#sessionId}`] });
    const response = await this.#fetch("/api/tickets", { method: "POST", headers, body });
    const answer = await response.json().catch(() => null);
    if (!response.ok) throw new Error(String(answer?.error?.message ?? `HTTP ${response.status}`));
    return String(answer.ticket);
  }

  /** @returns {Promise<Record<string, string>>} */
  async #authorization() {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /**
   * @param {string} path
   * @param {RequestInit} init
   */
  #fetch(path, init) {
    return this.#env.fetch(`${this.#options.baseUrl}${path}`, { cache: "no-store", ...init });
  }
}
