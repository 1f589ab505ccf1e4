"""Measurements of a real server beside the bare things it is built from, in turn, on one machine.

Three processes: the server on one core, the load on another, and this one, which only gives orders. Reading order:
`figures.py` (which figures there are), `publishing.py`, `delivering.py`, `replaying.py` with `filling.py`, `enduring.py`,
`trimming.py` (a program of its own), `tasks.py` and `generations.py` with `steady_model.py` (how each is taken),
`rows.py` (medians, ratios, targets), `stage.py`,
`processes.py` and `machine.py` (what runs where), `references.py` and `nchan.py` (what we compare with), `load.py` with
`orders.py`, `loop.py`, `followers.py`, `publishers.py`, `survivors.py` and `clients.py` (the load)."""
