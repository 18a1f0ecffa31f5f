"""Use of a checkpoint: predictions, evaluation, inspection page, export, demo."""
