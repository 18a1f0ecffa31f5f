"""Inspection of a trained network: measured on its test photos, put into words, drawn as page and picture."""

from catdog.inspection.measures import Inspection, Layer, inspect
from catdog.inspection.saving import inspect_run

__all__ = ["Inspection", "Layer", "inspect", "inspect_run"]
