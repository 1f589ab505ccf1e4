"""Tests of browser, generations."""
