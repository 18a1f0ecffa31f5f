"""From a checkpoint: probabilities, an evaluation, predictions, an inspection page, an exported file, a demo."""
