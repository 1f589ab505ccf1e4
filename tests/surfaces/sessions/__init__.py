"""Tests of surfaces, sessions."""
