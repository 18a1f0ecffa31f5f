"""One process at a time."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def alone(lock_file: Path, waiting: str) -> Iterator[None]:
    """Hold a lock; a holder that dies lets the next one in.

    Args:
        lock_file: in a folder that exists; it stays there.
        waiting: what to log if another process holds it, before waiting for that.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.info(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
