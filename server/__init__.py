"""
ToWow event server: a durable event log, streams that resume, and the surfaces built on them.

Read the modules in the order of the README's source layout; `app.py` wires them.
"""

__version__ = "0.1.0"
