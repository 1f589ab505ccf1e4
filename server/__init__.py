"""ToWow event server: a durable event log, streams that resume, and the surfaces built on them.

Read the modules in the order of the README's source layout; `app.py` wires them."""

from towow.version import __version__

__all__ = ["__version__"]
