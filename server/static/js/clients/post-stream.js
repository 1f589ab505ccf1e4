/**
 * One POST whose answer is a stream, from asking to the first trouble. It never asks again: a POST may have had its effect.
 *
 * After `close()`, or after it reported trouble, it holds no timer and calls nothing.
 *
 * @import { Environment } from "../lib/environment.js"
 *
 * @typedef {object} Refusal
 * @property {number} status
 * @property {string} code
 * @property {string} message
 * @property {number} retryAfterMs 0 unless the server asks to come back later
 *
 * @typedef {object} PostHandlers
 * @property {(response: Response) => void} onOpen
 * @property {(name: string, data: string, id: string) => void} onFrame `event` for stored events, else the control frame's name;
 *   `id` is the newest that came
 * @property {(reason: "network" | "silence") => void} onLost
 * @property {(refusal: Refusal) => void} onRefused
 */

import { retryAfterMs } from "../lib/poll.js";
import { FrameReader } from "./frames.js";

export class PostStream {
  #environment;
  #handlers;
  #silenceMs;
  #aborter = new AbortController();
  /** @type {any} */
  #timer = null;

  /**
   * @param {Environment} environment
   * @param {string} url
   * @param {RequestInit} request
   * @param {number} silenceMs without a byte, after which it counts as dead
   * @param {PostHandlers} handlers
   */
  constructor(environment, url, request, silenceMs, handlers) {
    this.#environment = environment;
    this.#handlers = handlers;
    this.#silenceMs = silenceMs;
    this.#received();
    void this.#run(url, request);
  }

  /** End it; no handler is called any more. */
  close() {
    this.#environment.clearTimeout(this.#timer);
    this.#aborter.abort();
  }

  #received() {
    this.#environment.clearTimeout(this.#timer);
    this.#timer = this.#environment.setTimeout(() => this.#lost("silence"), this.#silenceMs);
  }

  /** @param {"network" | "silence"} reason */
  #lost(reason) {
    if (this.#aborter.signal.aborted) return;
    this.close();
    this.#handlers.onLost(reason);
  }

  /**
   * @param {string} url
   * @param {RequestInit} request
   */
  async #run(url, request) {
    const { signal } = this.#aborter;
    try {
      const response = await this.#environment.fetch(url, { method: "POST", cache: "no-store", ...request, signal });
      if (signal.aborted) return;
      if (!response.ok || !response.body) {
        await this.#refused(response);
        return;
      }
      this.#handlers.onOpen(response);
      await this.#read(response.body);
    } catch {
      // Whatever broke it, it is not to be read further.
    }
    this.#lost("network");
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const { signal } = this.#aborter;
    const reader = body.getReader();
    const frames = new FrameReader();
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    while (!signal.aborted) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) break;
      this.#received();
      for (const { name, data, id } of frames.push(decoder.decode(value, { stream: true }))) {
        if (!signal.aborted) this.#handlers.onFrame(name, data, id);
      }
    }
    reader.cancel().catch(() => {});
  }

  /** @param {Response} response */
  async #refused(response) {
    const body = await response.json().catch(() => null);
    if (this.#aborter.signal.aborted) return;
    this.close();
    const { status, headers } = response;
    const waits = status === 429 || status === 503;
    this.#handlers.onRefused({
      status,
      code: body?.error?.code ?? "refused",
      message: body?.error?.message ?? `HTTP ${status}`,
      retryAfterMs: waits ? retryAfterMs(headers.get("Retry-After"), this.#environment.now()) : 0,
    });
  }
}
