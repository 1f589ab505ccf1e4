"""Tests of surfaces, tools."""
