/**
 * One page of events over plain HTTP, with a name for every way it can end.
 *
 * `event-stream.js` uses it twice: as the fallback when streams do not get through, and to learn why the browser gave up,
 * because an EventSource does not have the status.
 *
 * @import { EventPage } from "./types.js"
 * @import { Environment } from "./environment.js"
 *
 * @typedef {{reason: string, oldest_seq: number, head_seq: number, epoch: string, requested?: any}} ResetDetails
 *
 * @typedef {{kind: "page", page: EventPage}
 *   | {kind: "ended"}
 *   | {kind: "gone", details: ResetDetails}
 *   | {kind: "throttled", retryAfterMs: number}
 *   | {kind: "refused", status: number, code: string, message: string}
 *   | {kind: "failed", status: number}} PollOutcome
 */

const TIMEOUT_MS = 15_000;

/**
 * Read one page. Never rejects; whatever could pass by itself (network, time-out, 408, 5xx) is `failed`.
 *
 * @param {Environment} environment
 * @param {string} url
 * @param {AbortSignal} signal ends the request early; the outcome is then `failed`
 * @returns {Promise<PollOutcome>}
 */
export async function readPage(environment, url, signal) {
  const limit = new AbortController();
  const timer = environment.setTimeout(() => limit.abort(), TIMEOUT_MS);
  const abort = () => {
    environment.clearTimeout(timer);
    limit.abort();
  };
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  try {
    const response = await environment.fetch(url, {
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: limit.signal,
    });
    return await classify(environment, response);
  } catch {
    return { kind: "failed", status: 0 };
  } finally {
    environment.clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

/**
 * @param {Environment} environment
 * @param {Response} response
 * @returns {Promise<PollOutcome>}
 */
async function classify(environment, response) {
  const { status } = response;
  if (status === 204) return { kind: "ended" };
  if (response.ok) {
    const page = await response.json();
    return Array.isArray(page?.events) ? { kind: "page", page } : { kind: "failed", status };
  }
  if (status === 429) {
    return { kind: "throttled", retryAfterMs: retryAfterMs(response.headers.get("Retry-After"), environment.now()) };
  }
  if (status === 408 || status < 400 || status >= 500) return { kind: "failed", status };
  const body = await response.json().catch(() => null);
  const error = body?.error ?? {};
  if (status === 410) {
    return {
      kind: "gone",
      details: {
        reason: error.reason ?? "gone",
        requested: error.requested,
        oldest_seq: error.oldest_seq ?? 1,
        head_seq: error.head_seq ?? 0,
        epoch: error.epoch ?? null,
      },
    };
  }
  return { kind: "refused", status, code: error.code ?? "refused", message: error.message ?? "" };
}

/**
 * Milliseconds that a Retry-After header asks for; 1,000 when it is missing or unreadable.
 *
 * @param {string | null} header seconds, or an HTTP date
 * @param {number} now milliseconds since 1970
 * @returns {number}
 */
export function retryAfterMs(header, now) {
  if (header && /^\d{1,6}$/.test(header.trim())) return Number(header) * 1000;
  const date = header ? Date.parse(header) : NaN;
  return Number.isNaN(date) ? 1000 : Math.max(0, date - now);
}
