"""Read tables: Parquet, Arrow, and data sets saved to disk by Hugging Face's `datasets`.

`datasets` itself is not needed: what it saves are Arrow files and a list of them.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from lissom.errors import TaskError, require

# What the columns may take in memory; a small file can declare any number of rows.
LARGEST = 8 * 2**30
ENDINGS = (".parquet", ".arrow", ".feather")
TEXTUAL = {".csv": "read_csv", ".tsv": "read_table", ".json": "read_json"}
ARROW_FILE = b"ARROW1"
ZIP = b"PK\x03\x04"
STATE, SPLITS = "state.json", "dataset_dict.json"
FORMS = "give a .parquet or .arrow file, a folder of them, or a folder from save_to_disk"


def read_table(path: Path) -> Any:
    """A `pyarrow.Table` of a file, of a folder's files in the order of their names, or of a data
    set saved to disk. Arrow files are mapped, not loaded.

    Raises:
        TaskError: the file is missing, damaged, empty, too large, or of another kind, or the
            folder holds several splits.
        MissingExtra: pyarrow is not installed.
    """
    arrow = require("pyarrow", extra="tables", purpose="a task of tables")
    require("pyarrow.parquet", extra="tables", purpose="a task of tables")
    files = _files(path)
    parts = [_read(arrow, file) for file in files]
    try:
        table = arrow.concat_tables(parts)
    except arrow.ArrowException:
        names = {file.name: part.schema.names for file, part in zip(files, parts, strict=True)}
        told = "; ".join(f"{name} has {', '.join(columns)}" for name, columns in names.items())
        raise TaskError(
            "the files of the folder have different columns or types",
            where=f"{path}: {told[:300]}",
            fix="name one file, or write them with one schema",
        ) from None
    if not table.num_rows:
        raise TaskError(
            f"the table has no rows; its columns are {', '.join(table.column_names) or 'none'}",
            where=str(path),
            fix=FORMS,
        )
    return table


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise TaskError("there is no such file or folder", where=str(path), fix="check the path")
    if not path.is_dir():
        if path.suffix.lower() in TEXTUAL:
            raise TaskError(
                f"a {path.suffix} file is text, and only Parquet and Arrow are read",
                where=str(path),
                fix=f"convert it, with pandas for example: "
                f"pandas.{TEXTUAL[path.suffix.lower()]}(FILE).to_parquet('data.parquet')",
            )
        return [path]
    if (path / SPLITS).is_file():
        splits = _listed(path / SPLITS, "splits")
        raise TaskError(
            f"the folder holds the splits {', '.join(splits)}",
            where=str(path),
            fix=f"name one of them: table:{path / splits[-1]}",
        )
    if (path / STATE).is_file():
        return [path / name for name in _listed(path / STATE, "_data_files")]
    found = sorted(file for file in path.iterdir() if file.suffix in ENDINGS)
    if not found:
        raise TaskError("the folder holds no tables", where=str(path), fix=FORMS)
    return found


def _listed(file: Path, key: str) -> list[str]:
    """The names that a saved data set lists, none of which may lead out of its folder."""
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))[key]
        names = [one["filename"] if isinstance(one, dict) else str(one) for one in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TaskError(
            f"{file.name} cannot be read: {error}", where=str(file), fix="save the data set again"
        ) from None
    if not names or any(Path(name).name != name or name in ("", "..") for name in names):
        raise TaskError(
            f"{file.name} lists no files of this folder",
            where=str(file),
            fix="save the data set again",
        )
    return names


def _read(arrow: Any, file: Path) -> Any:
    try:
        table = _parquet(arrow, file) if file.suffix == ".parquet" else _arrow(arrow, file)
        # In full: offsets that lead out of a buffer would crash the process when they are read.
        table.validate(full=True)
        return table
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise TaskError(
                f"cannot read the file: {error.strerror or error}",
                where=str(file),
                fix="check the path",
            ) from None
        raise _damaged(file, error) from None
    except (arrow.ArrowException, ValueError, OverflowError, MemoryError) as error:
        raise _damaged(file, error) from None


def _parquet(arrow: Any, file: Path) -> Any:
    with arrow.parquet.ParquetFile(file, memory_map=True) as parquet:
        about = parquet.metadata
        groups = range(about.num_row_groups)
        _refuse_large(sum(about.row_group(group).total_byte_size for group in groups), file)
        return parquet.read()


def _arrow(arrow: Any, file: Path) -> Any:
    with file.open("rb") as stream:
        magic = stream.read(len(ARROW_FILE))
    source = arrow.memory_map(str(file))
    if magic == ARROW_FILE:
        return arrow.ipc.open_file(source).read_all()
    return arrow.ipc.open_stream(source).read_all()


def _refuse_large(size: int, file: Path) -> None:
    if size > LARGEST:
        raise TaskError(
            f"the columns would take more than {LARGEST / 2**30:.0f} GiB of memory",
            where=str(file),
            fix="give fewer rows or columns, or an .arrow file, which is mapped and not loaded",
        )


def _damaged(file: Path, error: BaseException) -> TaskError:
    with contextlib.suppress(OSError), file.open("rb") as stream:
        if stream.read(len(ZIP)) == ZIP:
            return TaskError(
                "the file is a zip archive, as NumPy's .npz is, and no table",
                where=str(file),
                fix=f"if it holds arrays: --task arrays:{file.with_suffix('.npz').name}",
            )
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return TaskError(
        f"the file is damaged, or no table: {reason[:200]}", where=str(file), fix=FORMS
    )
