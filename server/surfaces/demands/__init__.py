"""Demands: what somebody needs, read, matched to agents and negotiated (source document 000).

Read `model.py` for the rules, then `understanding.py`, `matching.py` and `projections.py`; `lexicon.py` and
`sample_agents.py` are data."""
