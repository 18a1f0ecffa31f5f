"""The one exception a user can cause."""


class InputError(ValueError):
    """Input that cannot be worked with; its one sentence names what came and what is allowed."""
