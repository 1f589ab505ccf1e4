"""The numbered SQL files that make and change the schema; `server/eventlog/database.py` applies them."""
