"""Tests of surfaces, tasks."""
