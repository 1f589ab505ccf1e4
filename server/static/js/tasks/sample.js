/**
 * A task such as a real one: phases, work items side by side, one that fails and is done again, progress, an end.
 *
 * @import { Language } from "../ui/i18n.js"
 *
 * @typedef {object} Emission what is posted, and when
 * @property {number} at milliseconds after the beginning
 * @property {string} event_type
 * @property {string} [phase]
 * @property {string} [span_id]
 * @property {Record<string, any>} payload
 */

/** span_id, its phase, where it begins and ends as a share of the whole time, its name. */
const WORK = /** @type {[string, string, number, number, Record<Language, string>][]} */ ([
  ["read-request", "planning", 0.02, 0.09, { en: "Read the request", zh: "阅读需求" }],
  ["choose-sources", "planning", 0.06, 0.16, { en: "Choose the sources", zh: "选定数据来源" }],
  ["fetch-orders", "executing", 0.2, 0.38, { en: "Fetch the orders of the quarter", zh: "获取本季度订单" }],
  ["fetch-returns", "executing", 0.21, 0.33, { en: "Fetch the returns", zh: "获取退货记录" }],
  ["clean-data", "executing", 0.4, 0.54, { en: "Clean the data", zh: "清洗数据" }],
  ["draw-charts", "executing", 0.56, 0.72, { en: "Draw the charts", zh: "绘制图表" }],
  ["write-report", "executing", 0.58, 0.78, { en: "Write the report", zh: "撰写报告" }],
  ["check-figures", "verifying", 0.82, 0.92, { en: "Check the figures", zh: "核对数字" }],
  ["check-wording", "verifying", 0.84, 0.95, { en: "Check the wording", zh: "检查措辞" }],
]);
const PHASES = /** @type {[string, number][]} */ ([["planning", 0], ["executing", 0.18], ["verifying", 0.8]]);
const BROKEN = { spanId: "fetch-returns", at: 0.26, again: 0.28, error: { en: "The archive did not answer in time", zh: "归档系统未及时响应" } };
const STEPS = 24; // progress updates

/**
 * All events of the task, in order.
 *
 * @param {number} milliseconds it takes
 * @param {Language} language
 * @returns {Emission[]} the first at 0
 */
export function sampleTask(milliseconds, language) {
  /** @type {Emission[]} */
  const events = PHASES.map(([phase, at]) => ({ at, event_type: "phase_enter", phase, payload: {} }));
  for (const [span_id, phase, from, to, names] of WORK) {
    const name = names[language];
    events.push({ at: from, event_type: "work_item_start", phase, span_id, payload: { name } });
    events.push({ at: to, event_type: "work_item_complete", phase, span_id, payload: { name, seconds: Math.round((to - from) * milliseconds) / 1000 } });
    if (span_id !== BROKEN.spanId) continue;
    events.push({ at: BROKEN.at, event_type: "work_item_failed", phase, span_id, payload: { name, error: BROKEN.error[language], attempt: 1 } });
    events.push({ at: BROKEN.again, event_type: "work_item_start", phase, span_id, payload: { name, attempt: 2 } });
  }
  for (let step = 1; step <= STEPS; step += 1) {
    const at = (0.97 * step) / STEPS;
    events.push({ at, event_type: "progress_update", payload: { progress: Math.round((98 * step) / STEPS), done: WORK.filter(([, , , to]) => to <= at).length, total: WORK.length } });
  }
  events.push({ at: 1, event_type: "task_complete", payload: { items: WORK.length } });
  return events.map((each) => ({ ...each, at: Math.round(each.at * milliseconds) })).sort((one, two) => one.at - two.at);
}

/**
 * A burst: short lines of a log, as a busy task writes them.
 *
 * @param {number} count
 * @param {number} firstNumber
 * @returns {Omit<Emission, "at">[]}
 */
export function burst(count, firstNumber) {
  return Array.from({ length: count }, (_, i) => ({ event_type: "log_line", payload: { n: firstNumber + i, text: `row ${firstNumber + i} of the import` } }));
}
