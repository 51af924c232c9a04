"""Columns of Arrow tables on disk: feather and parquet files, whole or one row of them (extra ``datasets``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from lidistill.errors import InputError

Columns = dict[str, NDArray[Any]]


def read_feather(path: Path, numbers: Sequence[str], texts: Sequence[str] = ()) -> Columns:
    """The columns ``numbers`` (N,), in their own types, and ``texts`` (N,) as objects of a feather file.

    Raises ``InputError`` when the file is missing or damaged, a column is missing or of another type, and when pyarrow
    is not installed.
    """
    arrow = _arrow()
    with _reading(path, arrow):
        import pyarrow.feather as feather

        table = feather.read_table(str(path), memory_map=False)
        found = {name: _column(table, name, path, arrow) for name in (*numbers, *texts)}
        for name in numbers:
            _check_numbers(found[name].type, name, path, arrow)
        return {name: column.to_numpy() for name, column in found.items()}


def read_parquet(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    """The values of ``columns`` as Python objects; for tables of few and small rows. Raises as ``read_feather``."""
    arrow = _arrow()
    with _reading(path, arrow), _open(path) as file:
        _check_columns(file, columns, path)
        table = file.read(columns=list(columns))
        return {name: table.column(name).to_pylist() for name in columns}


def read_parquet_keys(path: Path, columns: Sequence[str]) -> Columns:
    """Columns of numbers (N,) of a parquet file, the rest of which is not read. Raises as ``read_feather``."""
    arrow = _arrow()
    with _reading(path, arrow), _open(path) as file:
        _check_columns(file, columns, path)
        table = file.read(columns=list(columns))
        for name in columns:
            _check_numbers(table.column(name).type, name, path, arrow)
        return {name: table.column(name).to_numpy() for name in columns}


def read_parquet_row(path: Path, row: int, columns: Sequence[str]) -> dict[str, Any]:
    """One row: numbers of a list as an array, bytes as they are, None where the table has none. Raises likewise.

    Rows before it in its row group are decoded and thrown away one by one: of large rows never more than one is in
    memory, but it takes time in files with large row groups.
    """
    arrow = _arrow()
    with _reading(path, arrow), _open(path) as file:
        _check_columns(file, columns, path)
        group, before = 0, row
        while before >= file.metadata.row_group(group).num_rows:
            before -= file.metadata.row_group(group).num_rows
            group += 1
        batches = file.iter_batches(batch_size=1, row_groups=[group], columns=list(columns), use_threads=False)
        for number, batch in enumerate(batches):
            if number == before:
                return {name: _value(batch.column(name)[0], arrow) for name in columns}
    raise InputError(f"{path}: ends before row {row}; the file is truncated, copy it again")


def _value(scalar: Any, arrow: ModuleType) -> Any:
    if not scalar.is_valid:
        return None
    if isinstance(scalar, (arrow.ListScalar, arrow.LargeListScalar, arrow.FixedSizeListScalar)):
        return scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()


def _column(table: Any, name: str, path: Path, arrow: ModuleType) -> Any:
    if name not in table.column_names:
        raise _no_column(name, table.column_names, path)
    return table.column(name)


def _check_columns(file: Any, columns: Sequence[str], path: Path) -> None:
    for name in columns:
        if name not in file.schema_arrow.names:
            raise _no_column(name, file.schema_arrow.names, path)


def _check_numbers(kind: Any, name: str, path: Path, arrow: ModuleType) -> None:
    if not (arrow.types.is_integer(kind) or arrow.types.is_floating(kind)):
        raise InputError(f"{path}: column {name!r} is of type {kind}, expected numbers; copy the original file again")


def _no_column(name: str, there: Sequence[str], path: Path) -> InputError:
    return InputError(f"{path}: no column {name!r}, found {', '.join(there) or 'none'}; copy the original file again")


def _open(path: Path) -> Any:
    import pyarrow.parquet as parquet

    return parquet.ParquetFile(str(path), pre_buffer=False)


def _arrow() -> ModuleType:
    try:
        import pyarrow
    except ImportError:
        raise InputError("this data set needs pyarrow: pip install lidistill[datasets]") from None
    module: ModuleType = pyarrow
    return module


@contextmanager
def _reading(path: Path, arrow: ModuleType) -> Iterator[None]:
    """What pyarrow raises for a file becomes an ``InputError``."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: the file is missing; copy the data set again") from None
    except (arrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: truncated or damaged ({reason}); copy the file again") from None
