"""A trained network on anybody's photos: a verdict for each."""
