"""Comparison of many runs by their records: table, figure, tests of differences."""
