"""ToWow event server: a durable event log, streams that resume, and the surfaces built on them.

Read the modules in the order of `docs/source.md`; `app.py` wires them."""

import sys
from pathlib import Path

from towow.version import __version__

__all__ = ["__version__", "program"]


def program() -> str:
    """How this process's command line begins, for texts to copy: `python run.py`, or `towow` where that is installed."""
    return "python run.py" if Path(sys.argv[0]).name == "run.py" else "towow"
