"""Which figures there are, in the order in which they are taken."""

from collections.abc import Callable

from benchmarks.delivering import measure_delivery, measure_fanout, measure_latency
from benchmarks.enduring import measure_memory, measure_restart
from benchmarks.generations import measure_generations
from benchmarks.publishing import measure_batch, measure_publish
from benchmarks.replaying import measure_replay, measure_resume
from benchmarks.stage import Stage
from benchmarks.tasks import measure_tasks

FIGURES: dict[str, Callable[[Stage], None]] = {
    "publish": measure_publish,
    "fanout": measure_fanout,
    "delivery": measure_delivery,
    "latency": measure_latency,
    "replay": measure_replay,
    "resume": measure_resume,
    "batch": measure_batch,
    "memory": measure_memory,
    "restart": measure_restart,
    "tasks": measure_tasks,
    "generations": measure_generations,
}
