"""Tests, intervals, effect sizes and power."""
