"""Tables as JSON lists of rows: small ones whole, large ones a few thousand rows at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from lidistill.errors import InputError

CHUNK = 2**22
"""Characters read at once; parsed rows take about ten times as many bytes."""
SHOWN = 2**27
"""Bytes from which on a progress bar is worth its line."""

BETWEEN = re.compile(r"}\s*,(?=\s*{)")
"""Between two rows; a brace that closes a value of a row is followed by the name of the next value."""

Row = dict[str, Any]


def read_table(path: Path) -> list[Row]:
    """All rows of a small table; raises ``InputError`` when it is missing or no JSON list of rows."""
    try:
        rows = json.loads(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise InputError(f"{path}: not a JSON table ({error}); the file is damaged, copy it again") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a JSON list of rows {{...}}, found {str(rows)[:60]}; copy the file again")
    return rows


def stream_table(path: Path, wanted: Callable[[str], bool]) -> Iterator[list[Row]]:
    """The rows of a large table whose text is ``wanted``, in pieces; memory does not grow with the table.

    A value of a row may be an object, but no list of them. Parsing costs ten times as much as looking for a token, so
    ``wanted`` is asked first; rows that it refuses are not checked. Raises ``InputError`` for a missing, truncated or
    damaged table.
    """
    try:
        size = path.stat().st_size
        bar = tqdm(total=size, desc=path.name, unit="B", unit_scale=True, leave=False, disable=size < SHOWN)
        with path.open(encoding="utf-8") as file, bar:
            rest, done = file.read(CHUNK).lstrip(), 0
            if not rest.startswith("["):
                raise InputError(f"{path}: expected a JSON list of rows, found {rest[:30]!r}; copy the file again")
            rest = rest[1:]
            while more := file.read(CHUNK):
                bar.update(CHUNK)
                *texts, rest = BETWEEN.split(rest + more)
                yield _parse([text + "}" for text in texts], wanted, path, done)
                done += len(texts)
            texts = [text + "}" for text in BETWEEN.split(rest)]
            texts[-1] = _without_end(texts[-1][:-1], path, done + len(texts))
            yield _parse([text for text in texts if text], wanted, path, done)
    except OSError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text ({error.reason}); the file is damaged, copy it again") from None


def values(rows: list[Row], path: Path, take: Callable[[Row], Any]) -> list[Any]:
    """``take`` of every row; what it raises for a key or value becomes an ``InputError`` naming the row."""
    try:
        return [take(row) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError):
        for number, row in enumerate(rows):
            try:
                take(row)
            except KeyError as error:
                raise InputError(
                    f"{path}: row {row.get('token', number)!r} has no key {error}; copy it again"
                ) from None
            except (TypeError, ValueError, AttributeError) as error:
                raise InputError(f"{path}: row {row.get('token', number)!r}: {error}; copy the table again") from None
        raise


def row_numbers(rows: list[Row], path: Path) -> dict[str, int]:
    """Number of the row of every token."""
    return {token: number for number, token in enumerate(values(rows, path, lambda row: row["token"]))}


def look_up(numbers: Mapping[str, int], row: Row, key: str, path: Path, table: str) -> int:
    """Number of the row of ``table`` that the token ``row[key]`` names; ``InputError`` when there is none."""
    return numbers[known_token(numbers, row, key, path, table)]


def known_token(known: Mapping[str, Any], row: Row, key: str, path: Path, table: str) -> str:
    """The token ``row[key]``, which must be a row of ``table``."""
    token = row.get(key)
    if not isinstance(token, str) or token not in known:
        raise InputError(
            f"{path}: row {row.get('token')!r} has {key} {token!r}, which is not in {table}.json; the tables are "
            "damaged or not of one version, copy them again"
        )
    return token


def _without_end(text: str, path: Path, number: int) -> str:
    """The last row without the bracket that closes the list ("" for an empty list)."""
    text = text.strip()
    if not text.endswith("]"):
        raise InputError(f"{path}: ends in row {number} without ']'; the file is truncated, copy it again")
    return text[:-1].strip()


def _parse(texts: list[str], wanted: Callable[[str], bool], path: Path, done: int) -> list[Row]:
    chosen = [text for text in texts if wanted(text)]
    try:
        rows: list[Row] = json.loads(f"[{','.join(chosen)}]")
    except ValueError:
        _blame(texts, path, done)
    if len(rows) != len(chosen) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected rows {{...}} from row {done + 1} on, found {str(rows)[:60]}; copy it again")
    return rows


def _blame(texts: list[str], path: Path, done: int) -> NoReturn:
    for number, text in enumerate(texts, done + 1):
        try:
            json.loads(text)
        except ValueError as error:
            raise InputError(
                f"{path}: row {number} is not JSON ({error}); the file is damaged, copy it again"
            ) from None
    raise InputError(f"{path}: rows {done + 1} to {done + len(texts)} are not JSON; the file is damaged, copy it again")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: the table cannot be read ({error.strerror}); copy all tables of this version again")
