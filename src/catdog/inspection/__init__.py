"""Inspection of a trained network on its test photos: measures of its hidden units, shown on one HTML page."""

from catdog.inspection.page import inspect_run

__all__ = ["inspect_run"]
