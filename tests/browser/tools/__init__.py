"""Tests of browser, tools."""
