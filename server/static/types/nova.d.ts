/**
 * `js/clients/nova.js` for TypeScript: start a generation or follow one, and hear what its agents do.
 */

export interface Told {
  /** The agent, the run's mode, `llm_client`, or `transport`. */
  agentSource: string;
  payload: any;
}

export type Listener = (data: Told) => void;

export interface NovaOptions {
  /** What to generate, `{prompt, session_id?, context?}`: `connect()` POSTs it. Without it the url is that of a run's events. */
  body?: unknown;
  /** Sent with the POST, as the CSRF token of a page with a cookie. */
  headers?: Record<string, string> | (() => Record<string, string>);
  /** Of the server; default: the page's own. */
  baseUrl?: string;
  /** Upper bound of the first delay in milliseconds; default 1,000. */
  reconnectDelay?: number;
  /** Upper bound of any delay in milliseconds; default 30,000. */
  maxReconnectDelay?: number;
  /** In a row; default Infinity. */
  maxReconnectAttempts?: number;
}

export class SSEClient {
  constructor(url: string, options?: NovaOptions);
  /** Of the generation; null before the server has said it. */
  runId: string | null;
  get isConnected(): boolean;
  /** Start the generation, or go on listening to it after the last event; one client starts one generation. */
  connect(): void;
  /** Listen no more; the generation goes on. */
  disconnect(): void;
  /**
   * `connected`, `llm_chunk`, `agent_start`, `agent_complete`, `progress`, `retrying`, `error`, `run_started`, `run_resumed`,
   * `run_complete`, `run_failed` or `transport_error`.
   */
  on(event: string, callback: Listener): this;
  /** Without a callback, all of them. */
  off(event: string, callback?: Listener): this;
  emit(event: string, data: Told): void;
  /** `{event_type, agent_source, payload}`; a type that is not known is logged. */
  handleEvent(data: { event_type: string; agent_source?: string; payload?: any; [field: string]: any }): void;
  handleLLMChunk(agentSource: string, payload: any): void;
  handleAgentStart(agentSource: string, payload: any): void;
  handleAgentComplete(agentSource: string, payload: any): void;
  handleError(agentSource: string, payload: any): void;
}

export { SSEClient as NovaSSEClient };
