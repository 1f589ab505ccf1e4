"""The process that a small model runs in: `engine_process.py` starts it, sends its settings, and ends it.

The engine is native code that holds the interpreter's lock while it loads a model, for a second or for a minute, and that ends
its process when it fails: neither may happen to the process of the log. This one listens on loopback, requires the key of its
settings, prints one line, and ends when its standard input does, however the server ends."""

import ctypes
import json
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # of prctl(2)
_NICENESS = 5  # the server comes first where there are few cores
_BATCH_TOKENS = 128  # read at a time: while one text's question is read, the others wait


def main() -> None:
    """Read one line of settings, serve, and print one line of JSON: `address`, or `failed` with the reason.

    The settings: `path`, `threads`, `slots` (texts at the same time), `context_tokens` (of one text, with its question) and
    `key`."""
    _end_with_parent()
    settings = json.loads(sys.stdin.buffer.readline())
    os.nice(_NICENESS)
    try:
        server = _serve(**settings)
    except Exception as error:  # whatever the engine raises: the reason goes to the server's log
        _report(failed=f"{type(error).__name__}: {error}")
        return
    _report(address=server.listening_address)
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for a text in the making: it has no reader any more


def _end_with_parent() -> None:
    """Let the kernel, where it can, end this process with its server: the engine may hang before its input is read."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(path: str, threads: int, slots: int, context_tokens: int, key: str) -> Any:
    """The engine with this model, listening on a free port."""
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    parameters.model.path = path
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.cors_origins = "http://127.0.0.1"  # no page may call it
    parameters.ui = parameters.endpoint_slots = False
    parameters.verbosity = -1
    parameters.fit_params = parameters.warmup = False  # half of the time that it takes to start
    parameters.n_parallel = slots
    parameters.n_ctx = slots * context_tokens
    parameters.n_batch = parameters.n_ubatch = _BATCH_TOKENS
    parameters.n_threads_http = slots + 2
    parameters.cache_ram_mib = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.sampling.temp = 0.3  # a small model wanders off above, and repeats itself below
    parameters.sampling.top_p = 0.9
    parameters.sampling.penalty_repeat = 1.1
    return Server(parameters)


def _report(**facts: str) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
