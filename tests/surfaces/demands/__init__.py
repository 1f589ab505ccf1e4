"""Tests of surfaces, demands."""
