"""Tests of towow."""
