"""Tasks from the command line: `file.py:object`, `arrays:FILE`, `text:FILE`, `pairs:FILE`."""

from lissom.sources.spec import open_task

__all__ = ["open_task"]
