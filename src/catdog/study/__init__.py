"""From the records of many runs: a table, a figure and tests of the differences."""
