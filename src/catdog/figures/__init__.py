"""Pictures: learning curves, networks, photos."""

from catdog.figures.curves import TRAIN_COLOR, VAL_COLOR, comparison, curves
from catdog.figures.networks import network_diagram, weight_pictures
from catdog.figures.photos import SIDE, contact_sheet, mistakes, mistakes_sheet, worst_mistakes

__all__ = [
    "SIDE",
    "TRAIN_COLOR",
    "VAL_COLOR",
    "comparison",
    "contact_sheet",
    "curves",
    "mistakes",
    "mistakes_sheet",
    "network_diagram",
    "weight_pictures",
    "worst_mistakes",
]
