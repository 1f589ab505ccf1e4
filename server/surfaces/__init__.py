"""The surfaces: one folder per source document, each with a pure `model.py` and its `routes.py`.

Surfaces never import each other; what two of them need belongs to the core."""
