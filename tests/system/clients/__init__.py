"""Clients of others in real situations: what each gets when it is cut, when the server is killed, when the file is another one.

`python -m tests.system.clients` takes every client that is installed here through every situation and prints the table of
docs/clients.md. A client is a program in `node/`, `python/` or `go/` that takes a URL and prints a line of JSON for everything
that it gets: `{"revision": 7, "bytes": 210}` for an event, `{"control": "reset"}` for a control frame."""
