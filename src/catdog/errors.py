"""The exceptions a user can cause, and the check that most often raises one."""


class InputError(ValueError):
    """Input that cannot be worked with; its one sentence names what came and what is allowed."""


class UnavailableError(InputError):
    """An accelerator that this machine does not have; a sweep skips the run."""


class InterruptedRunError(Exception):
    """A run that a signal has ended; its one sentence says how to go on.

    Attributes:
        number: the signal's.
    """

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.number = number


def check_whole_number(key: str, value: object, least: int) -> None:
    """Raise an InputError unless the value of this configuration key is a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise InputError(f"{key} must be a whole number of at least {least}, got {value!r}")
