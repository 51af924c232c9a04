"""Point and label files: ``.bin .npy .npz .pcd .ply .las .laz`` and ``.label``."""

from lidistill.sensing.files.atomic import write_atomically
from lidistill.sensing.files.cloud import PointFile
from lidistill.sensing.files.formats import SUFFIXES, read_points, write_points
from lidistill.sensing.files.labels import read_labels, write_labels

__all__ = ["SUFFIXES", "PointFile", "read_labels", "read_points", "write_atomically", "write_labels", "write_points"]
