/**
 * `js/clients/mcp.js` for TypeScript. `samples/tsconfig.json` shows how to map the module to this file.
 */

export type RiskLevel = "low" | "medium" | "high";

export interface ToolStatus {
  status: string;
  tool_name: string;
  timestamp: string;
  details?: { parameters?: Record<string, unknown>; risk_level?: RiskLevel; start_time?: string; [field: string]: unknown };
}

export interface PermissionRequest {
  permission_id: string;
  tool_name: string;
  parameters: Record<string, unknown>;
  risk_level: RiskLevel;
  timestamp: string;
  status: "pending";
  /** Seconds from the request until no answer counts as a refusal. */
  expires_within_seconds: number;
}

export interface ToolResult {
  tool_name: string;
  result: unknown;
  success: boolean;
  timestamp: string;
}

export interface PermissionCleared {
  permission_id: string;
  reason?: string;
}

export interface ResultCleared {
  tool_name?: string;
}

export interface PermissionResponseResult {
  permission_id: string;
  approved: boolean;
  reason: string;
  success: boolean;
  /** Who answered; `timeout` when nobody did. */
  actor: string;
}

export interface Health {
  status: string;
  session_id: string;
  connected: boolean;
  connections: number;
  last_seq: number;
  pending_permission: string | null;
  pending: Array<PermissionRequest & { expires_in_seconds: number }>;
}

/** A function is asked for each connection, so that it can be renewed. */
export type Token = string | (() => string | Promise<string>);

export interface ClientOptions {
  /** Of the server, without a slash at its end; default: the page's own. */
  baseUrl?: string;
  /** Sent with an answer: the CSRF token of a page with a cookie. */
  headers?: () => Record<string, string>;
  /** 0 to 1: up to this share of a delay is added at random; default 0.1. */
  jitter?: number;
}

export class SSEClient {
  constructor(sessionId: string, token?: Token | null, options?: ClientOptions);

  /** Attempts in a row before it gives up; 5. */
  maxReconnectAttempts: number;
  /** Milliseconds before the first of them, doubled for each further one; 1,000. */
  reconnectDelay: number;

  onConnectionOpen: (() => void) | null;
  onToolStatusChange: ((data: ToolStatus) => void) | null;
  onPermissionRequest: ((data: PermissionRequest) => void) | null;
  onToolResult: ((data: ToolResult) => void) | null;
  onPermissionCleared: ((data: PermissionCleared) => void) | null;
  onResultCleared: ((data: ResultCleared) => void) | null;
  onPermissionResponseResult: ((data: PermissionResponseResult) => void) | null;
  /** Seconds since 1970. */
  onHeartbeat: ((timestamp: number) => void) | null;
  onError: ((message: string) => void) | null;
  onMaxReconnectAttemptsReached: (() => void) | null;

  /** Whether the stream is open and has said so. */
  get isConnected(): boolean;

  /** Closes an open connection first. */
  connect(): void;
  /** Leaves no timer and no listener behind. */
  disconnect(): void;
  /** Whether this answer counts. Without an id: the one request that waits. */
  approvePermission(approved: boolean, reason?: string, permissionId?: string): Promise<boolean>;
  /** Null on failure. */
  checkHealth(): Promise<Health | null>;
  /** `{type, data}`, a heartbeat or an error, as the stream brings them. */
  handleEvent(event: { type: string; data?: unknown; timestamp?: number; message?: string }): void;
}
