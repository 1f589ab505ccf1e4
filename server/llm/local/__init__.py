"""The small local model: its file, its engine in a process of its own, and its writer."""
