"""``poses.csv`` of a rig folder: where the lidar was at every scan."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lidistill.errors import InputError
from lidistill.sensing.files import write_atomically
from lidistill.sensing.frame import Pose
from lidistill.sensing.rigid import from_quaternion, to_quaternion

NAME = "poses.csv"
HEADER = ("scan", "drive", "x", "y", "z", "qx", "qy", "qz", "qw")


def read_poses(path: Path, stems: Sequence[str], rig: str) -> dict[str, Pose]:
    """Pose of every scan that has one, by stem; drives are called ``rig``/drive. Rows of other scans are left out.

    Raises ``InputError`` for another first row, a scan with two rows, and cells that are no pose.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines()))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a table of poses there") from None
    header = tuple(cell.strip() for cell in rows[0]) if rows else ()
    if header != HEADER:
        raise InputError(f"{path}: expected a first row {','.join(HEADER)}, found {','.join(header) or 'nothing':.60}")
    known, seen, found = set(stems), set[str](), dict[str, Pose]()
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        where = f"{path}: line {line}"
        if len(row) != len(HEADER):
            raise InputError(f"{where}: {len(row)} cells, expected {len(HEADER)} as in the first row")
        stem = row[0].strip()
        if stem in seen:
            raise InputError(f"{where}: scan {stem!r} has two rows; keep one")
        seen.add(stem)
        try:
            *place, x, y, z, w = (float(cell) for cell in row[2:])
            if not all(map(math.isfinite, place)):
                raise ValueError(f"the place {tuple(place)} is not finite")
            to_world = from_quaternion((w, x, y, z), place)
        except ValueError as error:
            raise InputError(f"{where}: {error}; expected metres and a quaternion") from None
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if stem in known:
            found[stem] = Pose(f"{rig}/{row[1].strip()}", to_world)
    return found


def write_poses(path: Path, poses: Mapping[str, Pose]) -> None:
    """Write ``poses`` by stem, with micrometres and quaternions of nine digits."""
    lines = [",".join(HEADER)]
    for stem, pose in poses.items():
        w, x, y, z = to_quaternion(pose.to_world)
        numbers = [f"{v:.6f}" for v in pose.to_world[:3, 3]] + [f"{v:.9f}" for v in (x, y, z, w)]
        lines.append(",".join((stem, pose.drive, *numbers)))
    write_atomically(path, lambda file: file.write_text("\n".join(lines) + "\n", encoding="utf-8"))
