"""How names of files and classes are shown."""


def shown(name: str) -> str:
    """A name as it is, or with escapes if it holds what no terminal shows: line breaks, bytes that are not UTF-8."""
    return name if name.isprintable() else repr(name)
