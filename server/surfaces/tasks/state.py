"""The state of a task as values: its phase, its progress and its work items, the names they may have, and the words of its
events.

`model.py` says how events change it, `rendering.py` how it is told. Nothing here decides anything."""

import msgspec

from server.http.text_rules import Id

KIND = "task"

PHASE_ENTER = "phase_enter"
WORK_ITEM_START = "work_item_start"
WORK_ITEM_COMPLETE = "work_item_complete"
WORK_ITEM_FAILED = "work_item_failed"
PROGRESS_UPDATE = "progress_update"
TASK_COMPLETE = "task_complete"
TASK_FAILED = "task_failed"
TASK_CANCELLED = "task_cancelled"

# Source 002 names the same event in two ways; it is stored under one.
ALIASES = {"work_item_started": WORK_ITEM_START, "work_item_completed": WORK_ITEM_COMPLETE}

TERMINAL_EVENTS = frozenset({TASK_COMPLETE, TASK_FAILED, TASK_CANCELLED})

STATUSES = ("running", "completed", "failed", "cancelled")
WORK_ITEM_STATUSES = ("running", "completed", "failed")

TASK_ID = Id("task_id", 120)
NAME = Id("name", has_colons=True)  # of a phase or a span
MAX_NAME_CHARACTERS = 200


class WorkItem(msgspec.Struct, frozen=True):
    """One piece of a task's work, named by its span; `started_at` is of the newest start, `ended_at` None while it runs."""

    span_id: str
    status: str
    name: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    first_seq: int = 0
    last_seq: int = 0


class TaskState(msgspec.Struct, frozen=True):
    """A task folded from its stream; `status` is "new" and `created_*` are empty until its first event.

    `work_items` holds those that were read, by span; the three counts are of all. `progress` is in percent."""

    task_id: str
    status: str = "new"
    phase: str | None = None
    progress: float = 0.0
    items_running: int = 0
    items_completed: int = 0
    items_failed: int = 0
    created_at: str = ""
    updated_at: str = ""
    created_seq: int = 0
    last_seq: int = 0
    revision: int = 0
    work_items: dict[str, WorkItem] = {}

    @property
    def exists(self) -> bool:
        """Whether it has any event."""
        return self.status != "new"

    @property
    def items_total(self) -> int:
        """How many work items it has."""
        return self.items_running + self.items_completed + self.items_failed


def stream_of(task_id: str) -> str:
    """The stream of a task."""
    return f"{KIND}:{task_id}"


def task_id_of(stream: str) -> str:
    """The id of the task of a stream; no task has it when `TASK_ID` does not allow it."""
    return stream.partition(":")[2]


def initial(task_id: str) -> TaskState:
    """The state of a task of which no event is known."""
    return TaskState(task_id)
