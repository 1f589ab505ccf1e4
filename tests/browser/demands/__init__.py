"""Tests of browser, demands."""
