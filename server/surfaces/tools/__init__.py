"""Tools: what an agent's tools are doing, and the permissions that somebody has to give before they act (source document 004).

Read `state.py` and `model.py` for the rules, then `inputs.py` and `rendering.py`; `expiry.py` denies what nobody answers and
`throttling.py` thins out bursts of statuses. `towow/tools.py` is the other side, for who runs tools."""
