/**
 * The sample task that this tab sends, from its first event to its last, over reloads of the page.
 *
 * How far it is stays with the tab. Its events are named after their place, so whatever is sent again is stored once.
 *
 * @import { Language } from "../ui/i18n.js"
 * @import { EmitterState } from "./emitter.js"
 *
 * @typedef {{taskId: string, language: Language, beganAt: number, sent: number}} SampleRun `beganAt` in ms since 1970
 */

import { object } from "../lib/fields.js";
import { randomId } from "../lib/random-id.js";
import { remembered } from "../ui/shell.js";
import { Emitter } from "./emitter.js";
import { sampleTask } from "./sample.js";
import { TASK_ID } from "./state.js";

const SAMPLE_MS = 20_000;

export class Sampling {
  /** What the server refused; null for nothing. @type {unknown} */
  error = null;
  #emitter;
  #kept;
  #onBegin;
  #onChange;
  /** @type {SampleRun | null} */
  #run = null;

  /**
   * @param {object} given
   * @param {Pick<Storage, "getItem" | "setItem"> | null} given.storage of this tab
   * @param {(taskId: string, event: Record<string, any>) => Promise<any>} given.post rejects with `RequestError`
   * @param {(taskId: string) => void} given.onBegin the task is there now
   * @param {() => void} given.onChange
   */
  constructor({ storage, post, onBegin, onChange }) {
    this.#kept = remembered(storage, "towow.sample");
    this.#onBegin = onBegin;
    this.#onChange = onChange;
    this.#emitter = new Emitter((event) => post(this.taskId, event), () => this.#follow());
  }

  /** Empty before the first one. @returns {string} */
  get taskId() {
    return this.#run?.taskId ?? "";
  }

  /** @returns {EmitterState} */
  get state() {
    return this.#emitter.state;
  }

  /** @param {Language} language of its texts */
  start(language) {
    void this.#send({ taskId: `demo-${randomId(4)}`, language, beganAt: Date.now(), sent: 0 });
  }

  /** Send the rest of one that a reload has interrupted, if there is one. */
  goOn() {
    const run = keptRun(this.#kept.get());
    if (run) void this.#send(run);
  }

  /** Send nothing more of it. */
  stop() {
    this.#kept.set("");
    this.#emitter.stop();
  }

  /** @param {SampleRun} run */
  async #send(run) {
    this.#run = run;
    this.error = null;
    const emissions = sampleTask(SAMPLE_MS, run.language).map((each, n) => ({ ...each, event_id: `${run.taskId}-${n}` }));
    try {
      await this.#emitter.run(emissions, { sent: run.sent, elapsedMs: Math.max(0, Date.now() - run.beganAt) });
    } catch (error) {
      this.error = error;
    }
    if (run === this.#run) this.#kept.set("");
    this.#onChange();
  }

  #follow() {
    const { isRunning, sent } = this.#emitter.state;
    if (this.#run && isRunning && sent > this.#run.sent) {
      this.#run.sent = sent;
      this.#kept.set(JSON.stringify(this.#run));
      if (sent === 1) this.#onBegin(this.taskId);
    }
    this.#onChange();
  }
}

/**
 * @param {string} kept
 * @returns {SampleRun | null} null for nothing, and for what is none
 */
export function keptRun(kept) {
  try {
    const { taskId, language, beganAt, sent } = object(JSON.parse(kept));
    const isRun = TASK_ID.test(taskId) && (language === "en" || language === "zh") && Number.isFinite(beganAt) && Number.isSafeInteger(sent) && sent > 0;
    return isRun ? { taskId, language, beganAt, sent } : null;
  } catch {
    return null;
  }
}
