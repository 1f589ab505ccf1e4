/**
 * `js/components/ConnectionStatus.js` for TypeScript: a connection for people, with a countdown and counters.
 */

import type { ServiceState, Stats } from "./EventStreamService";

export interface StatusOptions {
  container: Element | null;
  /** Default true. */
  showStats?: boolean;
  /** Default true. */
  showReconnectTimer?: boolean;
  /** `zh…` or anything else for English; default: the page's. */
  lang?: string;
}

export class ConnectionStatus {
  constructor(options: StatusOptions);
  /** With a delay (milliseconds), the time until the next try is counted down. */
  setState(state: ServiceState, details?: { reconnectAttempt?: number; reconnectDelay?: number }): void;
  setStats(stats: Partial<Stats>): void;
  /** Take it off the page; no timer is left. */
  destroy(): void;
}
