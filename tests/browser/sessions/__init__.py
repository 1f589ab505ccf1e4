"""Tests of browser, sessions."""
