/**
 * A React component that shows what the tools of a session do and asks for the permissions they need.
 *
 * A sample: copy it, with `types/mcp.d.ts`, and serve it from the origin of the event server, or give the client a `baseUrl`
 * that `[cors] origins` allows.
 */

import { useEffect, useReducer, useRef, useState } from "react";
import { SSEClient } from "/static/js/clients/mcp.js";
import type { PermissionRequest, Token, ToolResult, ToolStatus } from "/static/js/clients/mcp.js";

interface Monitored {
  tools: Record<string, ToolStatus>;
  /** Those that wait, oldest first: a second request never takes the place of the first. */
  requests: PermissionRequest[];
  results: ToolResult[];
}

type Action =
  | { type: "begin" }
  | { type: "status"; status: ToolStatus }
  | { type: "request"; request: PermissionRequest }
  | { type: "settled"; permissionId: string }
  | { type: "result"; result: ToolResult }
  | { type: "cleared"; toolName?: string };

const NOTHING: Monitored = { tools: {}, requests: [], results: [] };
const SHOWN_RESULTS = 20;
const LOOK_MS = 1000; // how often the connection is looked at

export function reduce(state: Monitored, action: Action): Monitored {
  switch (action.type) {
    case "begin":
      return NOTHING;
    case "status":
      return { ...state, tools: { ...state.tools, [action.status.tool_name]: action.status } };
    case "request":
      return { ...state, requests: [...without(state.requests, action.request.permission_id), action.request] };
    case "settled":
      return { ...state, requests: without(state.requests, action.permissionId) };
    case "result":
      return { ...state, results: [action.result, ...state.results].slice(0, SHOWN_RESULTS) };
    case "cleared":
      return { ...state, results: state.results.filter(({ tool_name }) => action.toolName !== undefined && tool_name !== action.toolName) };
  }
}

function without(requests: PermissionRequest[], permissionId: string): PermissionRequest[] {
  return requests.filter(({ permission_id }) => permission_id !== permissionId);
}

type Connection = "connecting" | "connected" | "given up";

export function MCPToolMonitor({ sessionId, token }: { sessionId: string; token: Token | null }) {
  const [{ tools, requests, results }, dispatch] = useReducer(reduce, NOTHING);
  const [connection, setConnection] = useState<Connection>("connecting");
  const [problem, setProblem] = useState("");
  const [answering, setAnswering] = useState("");
  const client = useRef<SSEClient | null>(null);

  useEffect(() => {
    const opened = new SSEClient(sessionId, token);
    opened.onConnectionOpen = () => {
      setConnection("connected");
      setProblem("");
    };
    const look = () => setConnection((shown) => (opened.isConnected ? "connected" : shown === "given up" ? shown : "connecting"));
    const timer = window.setInterval(look, LOOK_MS);
    opened.onToolStatusChange = (status) => dispatch({ type: "status", status });
    opened.onPermissionRequest = (request) => dispatch({ type: "request", request });
    opened.onPermissionCleared = ({ permission_id }) => dispatch({ type: "settled", permissionId: permission_id });
    opened.onPermissionResponseResult = ({ permission_id }) => dispatch({ type: "settled", permissionId: permission_id });
    opened.onToolResult = (result) => dispatch({ type: "result", result });
    opened.onResultCleared = ({ tool_name }) => dispatch({ type: "cleared", toolName: tool_name });
    opened.onError = setProblem;
    opened.onMaxReconnectAttemptsReached = () => setConnection("given up");
    client.current = opened;
    dispatch({ type: "begin" });
    setConnection("connecting");
    opened.connect();
    return () => {
      window.clearInterval(timer);
      opened.disconnect();
    };
  }, [sessionId, token]);

  const answer = async (request: PermissionRequest, approved: boolean) => {
    setAnswering(request.permission_id);
    setProblem("");
    const reason = approved ? "user approved" : "user rejected";
    // The panel closes when the stream says so; a refused answer leaves it open, with the reason in `problem`.
    await client.current?.approvePermission(approved, reason, request.permission_id);
    setAnswering("");
  };

  const reconnect = () => {
    setConnection("connecting");
    client.current?.connect();
  };

  return (
    <section className="tool-monitor" aria-label="Tools">
      <header>
        <h2>Tools</h2>
        <p role="status">{connection === "connected" ? "Connected" : connection === "connecting" ? "Connecting" : "Not connected"}</p>
      </header>
      {problem !== "" && <p role="alert">{problem}</p>}
      {connection === "given up" && (
        <button type="button" onClick={reconnect}>
          Connect again
        </button>
      )}
      <ul aria-label="Requests">
        {requests.map((request) => (
          <li key={request.permission_id}>
            <h3>{request.tool_name}</h3>
            <p>Risk: {request.risk_level}</p>
            <pre>{JSON.stringify(request.parameters, null, 2)}</pre>
            <button type="button" disabled={answering === request.permission_id} onClick={() => void answer(request, true)}>
              Approve
            </button>
            <button type="button" disabled={answering === request.permission_id} onClick={() => void answer(request, false)}>
              Reject
            </button>
          </li>
        ))}
      </ul>
      <ul aria-label="Status">
        {Object.values(tools).map((tool) => (
          <li key={tool.tool_name}>
            <b>{tool.tool_name}</b> <span>{tool.status}</span> <time dateTime={tool.timestamp}>{new Date(tool.timestamp).toLocaleTimeString()}</time>
          </li>
        ))}
      </ul>
      <ul aria-label="Results">
        {results.map((result, i) => (
          <li key={`${result.timestamp}/${i}`}>
            <b>{result.tool_name}</b> <span>{result.success ? "succeeded" : "failed"}</span>
            <pre>{JSON.stringify(result.result, null, 2)}</pre>
          </li>
        ))}
      </ul>
    </section>
  );
}
