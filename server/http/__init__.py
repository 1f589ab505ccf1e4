"""Requests in, responses out; knows no principal."""
