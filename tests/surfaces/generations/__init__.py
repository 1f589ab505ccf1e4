"""Tests of surfaces, generations."""
