"""
Which figures there are, in the order in which they are taken.
"""

from collections.abc import Callable

from server.benchmarks.delivering import measure_delivery, measure_fanout, measure_latency
from server.benchmarks.enduring import measure_memory, measure_restart
from server.benchmarks.generations import measure_generations
from server.benchmarks.publishing import measure_batch, measure_publish
from server.benchmarks.replaying import measure_replay, measure_resume
from server.benchmarks.stage import Stage
from server.benchmarks.tasks import measure_tasks

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
