"""The generic routes over the log; knows principals."""
