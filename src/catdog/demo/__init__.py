"""A page on this machine to ask a trained network about photos; it needs the extra "demo"."""
