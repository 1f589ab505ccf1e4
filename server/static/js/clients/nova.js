/**
 * Source 003's `SSEClient`: starts a generation, or follows one, and reports what its agents do as events with listeners.
 *
 * A generation goes on at the server when nobody listens. With `body`, `connect()` starts one by POST; when that answer breaks
 * off, the rest is read by GET from the last event on, with the same stream module as the pages. Without a body the url is that
 * of a generation's events. What an agent reports as `error` is no failure of the connection: that is `transport_error`.
 *
 * @import { Environment } from "../lib/environment.js"
 * @import { StreamState } from "../lib/stream-options.js"
 * @import { Refusal } from "./post-stream.js"
 *
 * @typedef {(data: {agentSource: string, payload: any}) => void} Listener
 *
 * @typedef {object} NovaOptions
 * @property {unknown} [body] what to generate, `{prompt, session_id?, context?}`; sent as JSON
 * @property {Record<string, string> | (() => Record<string, string>)} [headers] sent with the POST, as the CSRF token of a page
 *   with a cookie
 * @property {string} [baseUrl] of the server; default: the page's own
 * @property {number} [reconnectDelay] upper bound of the first delay in milliseconds; default 1,000
 * @property {number} [maxReconnectDelay] upper bound of any delay in milliseconds; default 30,000
 * @property {number} [maxReconnectAttempts] in a row; default Infinity
 * @property {Partial<Environment>} [environment] replaces parts of the browser
 */

import { isAfter, placed } from "../lib/cursor.js";
import { browserEnvironment } from "../lib/environment.js";
import { EventStream } from "../lib/event-stream.js";
import { PostStream } from "./post-stream.js";
import { Reconnector } from "./retry-schedule.js";
import { parseFrame } from "./frames.js";

const DEFAULTS = {
  headers: /** @type {Record<string, string> | (() => Record<string, string>)} */ ({}),
  baseUrl: "",
  reconnectDelay: 1000,
  maxReconnectDelay: 30_000,
  maxReconnectAttempts: Infinity,
};
const NOWHERE = "http://relative.invalid";
const SILENCE_MS = 37_500; // 2.5 keepalives of the server
const STARTS = 5; // attempts to start while the server has no room
const PASSED_ON = new Set(["progress", "retrying", "run_started", "run_resumed", "run_complete", "run_failed"]);
const TERMINAL = new Set(["run_complete", "run_failed"]);

export class SSEClient {
  /** Of the generation; null before the server has sent it. @type {string | null} */
  runId = null;
  #url;
  #options;
  /** @type {Environment} */
  #env;
  #reconnector;
  /** @type {Map<string, Set<Listener>>} */
  #listeners = new Map();
  /** @type {PostStream | EventStream | null} */
  #connection = null;
  #isConnected = false;
  #isOver = false;
  /** The id of the last event that was reported; empty before the first. */
  #cursor = "";
  /** @type {string | null} */
  #epoch = null;
  /** The failure in a row that was reported last. */
  #reportedAttempt = 0;

  /**
   * @param {string} url to POST to (`/novachat`, `/loomichat`), or of a generation's events (`/api/runs/{run_id}/events`)
   * @param {NovaOptions} [options]
   */
  constructor(url, options = {}) {
    this.#options = { ...DEFAULTS, ...options };
    const browser = typeof window === "undefined" ? {} : browserEnvironment();
    this.#env = /** @type {Environment} */ ({ ...browser, ...options.environment });
    const { pathname, searchParams, origin } = new URL(url, NOWHERE);
    const base = origin === NOWHERE ? this.#options.baseUrl.replace(/\/+$/, "") : origin;
    this.#url = { base, path: pathname, query: searchParams };
    if (options.body === undefined) {
      this.runId = decodeURIComponent(/\/api\/runs\/([^/]+)\/events$/.exec(pathname)?.[1] ?? "") || null;
      this.#cursor = this.#url.query.get("since_seq") ?? "";
    }
    const { reconnectDelay: firstMs, maxReconnectAttempts } = this.#options;
    const policy = () => ({ attempts: Math.min(STARTS, maxReconnectAttempts), firstMs, jitter: 1 });
    const giveUp = () => this.#trouble("too_many_requests", "the server has no room");
    this.#reconnector = new Reconnector(this.#env, policy, () => this.#start(), giveUp);
  }

  /** Whether the stream is open. @returns {boolean} */
  get isConnected() {
    return this.#isConnected;
  }

  /** Start the generation, or go on listening to it after the last event; one client starts one generation. */
  connect() {
    this.disconnect();
    if (this.#isOver) return;
    if (this.#options.body !== undefined && this.runId === null) this.#start();
    else this.#follow();
  }

  /**
   * Listen no more: no connection and no timer is left. The generation goes on.
   */
  disconnect() {
    this.#reconnector.succeeded();
    this.#isConnected = false;
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
  }

  /**
   * @param {string} event `connected`, `llm_chunk`, `agent_start`, `agent_complete`, `progress`, `retrying`, `error`,
   *   `run_started`, `run_resumed`, `run_complete`, `run_failed` or `transport_error`
   * @param {Listener} callback
   * @returns {this}
   */
  on(event, callback) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(callback));
    return this;
  }

  /**
   * @param {string} event
   * @param {Listener} [callback] default: all of them
   * @returns {this}
   */
  off(event, callback) {
    if (callback) this.#listeners.get(event)?.delete(callback);
    else this.#listeners.delete(event);
    return this;
  }

  /**
   * Call the listeners of an event; one that throws does not keep the others from being called.
   *
   * @param {string} event
   * @param {{agentSource: string, payload: any}} data
   */
  emit(event, data) {
    for (const callback of [...(this.#listeners.get(event) ?? [])]) {
      try {
        callback(data);
      } catch (error) {
        console.error(`SSEClient: a listener of ${event} failed`, error);
      }
    }
  }

  /**
   * Tell the listeners of an event; a type that is not known is logged and passed over.
   *
   * @param {any} data `{event_type, agent_source, payload}`
   */
  handleEvent(data) {
    const { event_type: type, agent_source, source, payload = {} } = data ?? {};
    const agentSource = agent_source ?? source ?? "unknown";
    if (type === "llm_chunk") this.handleLLMChunk(agentSource, payload);
    else if (type === "agent_start") this.handleAgentStart(agentSource, payload);
    else if (type === "agent_complete") this.handleAgentComplete(agentSource, payload);
    else if (type === "error") this.handleError(agentSource, payload);
    else if (PASSED_ON.has(type)) this.emit(type, { agentSource, payload });
    else console.warn(`SSEClient: unknown event type ${JSON.stringify(type)}`);
  }

  /**
   * @param {string} agentSource
   * @param {any} payload `{content, content_type, is_complete, agent, …}`
   */
  handleLLMChunk(agentSource, payload) {
    this.emit("llm_chunk", { agentSource, payload });
  }

  /**
   * @param {string} agentSource
   * @param {any} payload `{status, task_description, …}`
   */
  handleAgentStart(agentSource, payload) {
    this.emit("agent_start", { agentSource, payload });
  }

  /**
   * @param {string} agentSource
   * @param {any} payload `{status, summary, …}`
   */
  handleAgentComplete(agentSource, payload) {
    this.emit("agent_complete", { agentSource, payload });
  }

  /**
   * @param {string} agentSource
   * @param {any} payload `{error, error_type, …}`
   */
  handleError(agentSource, payload) {
    this.emit("error", { agentSource, payload });
  }

  #start() {
    const { body, headers } = this.#options;
    const given = typeof headers === "function" ? headers() : headers;
    const accepted = { "Content-Type": "application/json", Accept: "text/event-stream" };
    const request = { headers: { ...accepted, ...given }, body: JSON.stringify(body) };
    const { base, path, query } = this.#url;
    this.#connection = new PostStream(this.#env, `${base}${path}?${query}`.replace(/\?$/, ""), request, SILENCE_MS, {
      onOpen: (response) => {
        this.runId = response.headers.get("X-Run-Id") ?? this.runId;
        this.#reconnector.succeeded();
        this.#connected();
      },
      onFrame: (name, data, id) => this.#frame(name, data, id),
      onLost: (reason) => this.#broken(reason),
      onRefused: (refusal) => this.#refused(refusal),
    });
  }

  /** @param {Refusal} refusal */
  #refused({ code, message, retryAfterMs }) {
    this.#connection = null;
    if (retryAfterMs > 0) this.#reconnector.plan(retryAfterMs);
    else this.#trouble(code, message);
  }

  /** The answer to the POST has ended before the generation. @param {string} reason */
  #broken(reason) {
    this.#connection = null;
    this.#isConnected = false;
    if (this.#isOver) return;
    // Without its id it cannot be found, and a second POST would be a second generation.
    if (this.runId === null) this.#trouble(reason, "the answer broke off before the generation was known");
    else this.#follow();
  }

  #follow() {
    const { reconnectDelay, maxReconnectDelay, maxReconnectAttempts } = this.#options;
    const { base, path, query } = this.#url;
    const parameters = Object.fromEntries([...query].filter(([name]) => name !== "since_seq" && name !== "epoch"));
    const isStarted = this.#options.body !== undefined;
    const stream = new EventStream({
      streams: this.runId === null ? [] : [`run:${this.runId}`],
      baseUrl: base,
      path: isStarted ? `/api/runs/${encodeURIComponent(this.runId ?? "")}/events` : path,
      ...(isStarted ? {} : { parameters }),
      ...(this.runId === null && { pollPath: path }),
      start: { epoch: this.#epoch, id: this.#cursor || "0" },
      baseMs: reconnectDelay,
      capMs: maxReconnectDelay,
      maxAttempts: maxReconnectAttempts,
      environment: { ...this.#env, localStorage: null },
      onEvent: (event) => {
        if (stream.state.name !== "polling") this.#connected(); // a stream that ends in its replay is never "connected"
        this.#event(event);
      },
      onReset: ({ oldest_seq, epoch }) => {
        this.#cursor = String(Math.max(0, oldest_seq - 1));
        this.#epoch = epoch;
      },
      onState: (state) => stream === this.#connection && this.#streamChanged(state),
    });
    this.#connection = stream;
    stream.start();
  }

  /** @param {StreamState} state */
  #streamChanged({ name, attempt, nextTryAt, reason }) {
    if (name === "connected") {
      this.#epoch = /** @type {EventStream} */ (this.#connection).cursor?.epoch ?? this.#epoch;
      this.#reportedAttempt = 0;
      this.#connected();
      return;
    }
    this.#isConnected = false;
    if (name === "closed") {
      this.#connection = null;
      if (reason === "ended") this.#isOver = true;
      else if (reason !== "closed") this.#trouble(reason ?? "refused", "the stream of the generation was closed");
    } else if (attempt !== this.#reportedAttempt && nextTryAt !== null) {
      this.#reportedAttempt = attempt;
      this.#trouble(reason ?? "network", "the connection was lost and is tried again", true);
    }
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
    else if (name === "ready") this.#epoch = frame.epoch ?? null;
    else if (name === "end" || name === "rotate") this.#ended(frame.reason);
  }

  /** @param {string | undefined} reason */
  #ended(reason) {
    this.disconnect();
    if (reason === "token_expired") this.#trouble(reason, "the login has expired");
    else if (reason === undefined || reason === "shutdown" || reason === "capacity") this.#broken(reason ?? "rotate");
    else this.#isOver = true;
  }

  /** @param {any} event */
  #event(event) {
    if (event?.cursor) {
      if (!isAfter(event.cursor, this.#cursor)) return;
      this.#cursor = event.cursor;
    }
    this.runId ??= event?.run_id ?? null;
    if (TERMINAL.has(event?.event_type)) this.#isOver = true;
    this.handleEvent(event);
  }

  #connected() {
    if (this.#isConnected) return;
    this.#isConnected = true;
    this.emit("connected", { agentSource: "transport", payload: { run_id: this.runId } });
  }

  /**
   * @param {string} error_type
   * @param {string} error
   * @param {boolean} [will_retry]
   */
  #trouble(error_type, error, will_retry = false) {
    this.#isConnected = false;
    this.emit("transport_error", { agentSource: "transport", payload: { error, error_type, will_retry } });
  }
}

export { SSEClient as NovaSSEClient };
