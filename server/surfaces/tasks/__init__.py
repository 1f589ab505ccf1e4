"""Tasks: long work that somebody does elsewhere and many watch: phases, work items, progress (source document 002).

Read `state.py` and `model.py` for the rules, then `inputs.py` and `rendering.py`; `routes.py` is for emitters and for who asks
how a task is, `event_routes.py` for who follows one."""
