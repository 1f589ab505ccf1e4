"""Tests of llm, local."""
