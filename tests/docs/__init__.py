"""The documents are promises that run: what they name exists, what they list is complete, what they show works."""
