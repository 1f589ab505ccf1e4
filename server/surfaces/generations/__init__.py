"""Generations: several agents write a text together, piece by piece, in runs that go on when nobody watches (source document
003).

Read `state.py` and `model.py` for the rules, `inputs.py` and `rendering.py` for what is said and told, `routes.py` for HTTP;
`executor.py` carries runs out, by the plans of `plans.py`."""
