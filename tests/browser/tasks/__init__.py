"""Tests of browser, tasks."""
