"""Tasks from the command line: `file.py:object`, and data by what they are: `images:FOLDER`."""

from lissom.sources.spec import open_task

__all__ = ["open_task"]
