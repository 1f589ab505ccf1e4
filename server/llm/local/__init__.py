"""The small local model: its file, its engine in a process of its own, and its writer.

Everything outside takes the names of this module."""

from server.llm.local.model import LocalModel, find_local_model

__all__ = ["LocalModel", "find_local_model"]
