"""A task such as a real one, planned: phases, work items side by side, one that fails and is done again, progress, an end.
Pure."""

from collections.abc import Iterator
from typing import Any, NamedTuple

PHASES = (("planning", 0.0), ("executing", 0.18), ("verifying", 0.8))
_SIDE_BY_SIDE = 2.1  # how many items run at a time
_FIRST, _LAST = 0.02, 0.97  # between which shares of the time there is work
_PROGRESS_STEPS = 25
_FEWEST_WITH_A_FAILURE = 3

_NAMES = {
    "en": (
        "Read the request",
        "Choose the sources",
        "Fetch the orders",
        "Fetch the returns",
        "Clean the data",
        "Draw the charts",
        "Write the report",
        "Check the figures",
        "Check the wording",
    ),
    "zh": ("阅读需求", "选定数据来源", "获取订单", "获取退货记录", "清洗数据", "绘制图表", "撰写报告", "核对数字", "检查措辞"),
}
_MORE = {"en": "Check page {}", "zh": "检查第{}页"}
_ERROR = {"en": "the archive did not answer in time", "zh": "归档系统未及时响应"}


class Step(NamedTuple):
    """One event of the task; `at` is a share of the whole time, 0 to 1."""

    at: float
    event_type: str
    payload: dict[str, Any]
    phase: str | None = None
    span_id: str | None = None


class _Item(NamedTuple):
    """One piece of work, between two shares of the time."""

    span_id: str
    name: str
    begins: float
    ends: float

    def done(self, at: float) -> float:
        """How much of it is done, 0 to 1."""
        return min(1.0, max(0.0, (at - self.begins) / (self.ends - self.begins)))


def plan_task(items: int, lang: str) -> list[Step]:
    """Everything that the task will say, in order, from 0 to 1."""
    work = list(_work(items, lang))
    steps = [Step(at, "phase_enter", {}, phase) for phase, at in PHASES]
    for item in work:
        steps += _steps_of(item, lang, is_failing=items >= _FEWEST_WITH_A_FAILURE and item is work[items // 2])
    for step in range(1, _PROGRESS_STEPS):
        at = step / _PROGRESS_STEPS
        progress = round(100 * sum(item.done(at) for item in work) / items, 1)
        steps.append(Step(at, "progress_update", {"progress": progress, "done": sum(item.ends <= at for item in work)}))
    steps.append(Step(1.0, "task_complete", {"items": items}))
    return sorted(steps, key=lambda each: each.at)  # stable: a phase before what begins with it


def _work(items: int, lang: str) -> Iterator[_Item]:
    slot = (_LAST - _FIRST) / items
    for number in range(items):
        names = _NAMES[lang]
        name = names[number] if number < len(names) else _MORE[lang].format(number - len(names) + 1)
        begins = _FIRST + number * slot
        yield _Item(f"s-{number + 1}", name, begins, min(begins + _SIDE_BY_SIDE * slot, _LAST))


def _steps_of(item: _Item, lang: str, *, is_failing: bool) -> Iterator[Step]:
    phase = next(phase for phase, at in reversed(PHASES) if at <= item.begins)
    yield Step(item.begins, "work_item_start", {"name": item.name}, phase, item.span_id)
    if is_failing:
        length = item.ends - item.begins
        failed = {"name": item.name, "error": _ERROR[lang]}
        yield Step(item.begins + 0.4 * length, "work_item_failed", failed, phase, item.span_id)
        yield Step(item.begins + 0.5 * length, "work_item_start", {"name": item.name, "attempt": 2}, phase, item.span_id)
    yield Step(item.ends, "work_item_complete", {"name": item.name}, phase, item.span_id)
