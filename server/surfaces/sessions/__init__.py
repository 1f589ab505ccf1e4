"""Sessions: a chat that a bot begins and a human takes over, and back again (source document 001).

Read `model.py` for the rules, `state.py` for the values and words, then `routes.py` (the hand-over) and `channel_routes.py`
(the streams of sessions, operators and broadcasts)."""
