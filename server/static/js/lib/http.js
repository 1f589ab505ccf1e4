/**
 * Requests to the server: one time-out, one shape of errors, the CSRF token with every change, and a 401 reported to the login.
 *
 * Nothing here retries but a change whose CSRF token was another tab's: that one was refused before it did anything.
 */

import { access } from "./access.js";
import { learnServerTime } from "./server-clock.js";

/**
 * A request that brought no result. `status` is 0 when the server did not answer.
 */
export class RequestError extends Error {
  /**
   * @param {string} message of the server, or empty
   * @param {number} status
   * @param {any} [details] the `error` object of the answer
   */
  constructor(message, status, details = null) {
    super(message);
    this.name = "RequestError";
    this.status = status;
    this.details = details;
  }
}

const TIMEOUT_MS = 20_000;

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export function get(path) {
  return request(path, {});
}

/**
 * @param {string} path
 * @param {Record<string, any>} body
 * @returns {Promise<any>}
 */
export async function post(path, body) {
  const text = JSON.stringify(body);
  const send = () =>
    request(path, { method: "POST", headers: { "Content-Type": "application/json", ...access.headers }, body: text });
  try {
    return await send();
  } catch (error) {
    const isStale = error instanceof RequestError && error.status === 403 && error.details?.field === "X-CSRF-Token";
    if (!isStale) throw error;
    await access.load(); // another tab has logged in
    return send();
  }
}

/**
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<any>}
 */
async function request(path, init) {
  let response;
  try {
    const headers = { Accept: "application/json", ...init.headers };
    response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS), ...init, headers });
    learnServerTime(response.headers.get("Date"), Date.now());
    if (response.ok) return await response.json();
  } catch {
    throw new RequestError("", 0);
  }
  const body = await response.json().catch(() => null);
  if (response.status === 401) access.refused();
  throw new RequestError(String(body?.error?.message ?? ""), response.status, body?.error ?? null);
}
