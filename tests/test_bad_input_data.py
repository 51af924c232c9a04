"""Damaged data: every case ends in one sentence that names the file, never in a traceback of ours."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest
import yaml
from PIL import Image

from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.files import PointFile, pcd, ply, read_labels, read_points, write_points

RNG = np.random.default_rng(0)
CLOUD = PointFile(RNG.normal(0, 9, (40, 3)).astype(np.float32), RNG.random(40).astype(np.float32))


def said(caught, file):
    """The sentence; it names ``file``, stands on one line and does not come with a chain of other exceptions."""
    text = str(caught.value)
    assert file in text
    assert "\n" not in text
    assert len(text) < 600
    assert caught.value.exit_code == 2
    return text


# ---- single files: (file name, content, part of the message)


def bin_of(rows):
    return np.asarray(rows, np.float32).tobytes()


def npy_of(array, **options):
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def npz_of(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def written(suffix, folder, encoding=None):
    path = folder / f"good{suffix}"
    if encoding is None:
        write_points(path, CLOUD)
    else:
        (pcd if suffix == ".pcd" else ply).write(path, CLOUD, encoding)
    content = path.read_bytes()
    path.unlink()
    return content


PCD = b"VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA ascii\n"
PLY = b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
OBJECTS = np.array([{"x": 1}], dtype=object)

FILES = {
    "empty bin": ("a.bin", b"", "the file is empty"),
    "truncated bin": ("a.bin", bin_of(np.ones((3, 4)))[:-3], "multiple of 16 or 20"),
    "bin with fractions for rings": ("a.bin", None, "a whole number"),
    "npy of objects": ("a.npy", npy_of(OBJECTS), "pickled Python objects"),
    "pickle called npy": ("a.npy", pickle.dumps([1, 2, 3]), "pickled Python objects"),
    "npz of objects": ("a.npz", npz_of(points=OBJECTS), "pickled Python objects"),
    "npy of text": ("a.npy", npy_of(np.array([["a", "b", "c"]])), "expected numbers"),
    "npy of complex numbers": ("a.npy", npy_of(np.ones((4, 4), complex)), "expected numbers"),
    "npy of a range image": ("a.npy", npy_of(np.ones((32, 10, 6))), "found shape (32, 10, 6)"),
    "npy of two columns": ("a.npy", npy_of(np.ones((9, 2))), "found shape (9, 2)"),
    "truncated npy": ("a.npy", npy_of(np.ones((9, 4)))[:-8], "not a .npy file of numbers"),
    "truncated npz": ("a.npz", npz_of(x=np.ones(9))[:-30], "not a .npz file of numbers"),
    "npz of uneven columns": ("a.npz", npz_of(points=np.ones((9, 3)), ring=np.ones(8)), "columns of one length"),
    "npz without points": ("a.npz", npz_of(depth=np.ones(9), height=np.ones(9)), "no column 'x'"),
    "npy of map coordinates": ("a.npy", npy_of(np.full((9, 3), 4.5e6)), "expected a lidar frame"),
    "pcd without header": ("a.pcd", b"1 2 3\n" * 9, "no DATA line"),
    "pcd of unknown type": ("a.pcd", PCD.replace(b"TYPE F", b"TYPE Q"), "wrong PCD header"),
    "pcd with uneven header": ("a.pcd", PCD.replace(b"SIZE 4 4 4", b"SIZE 4 4"), "wrong PCD header"),
    "pcd without z": ("a.pcd", PCD.replace(b"x y z", b"x y k") + b"1 2 3\n4 5 6\n", "no column 'z'"),
    "pcd ascii, cut": ("a.pcd", PCD + b"1 2 3\n4 5", "5 values, expected 2 points of 3"),
    "pcd ascii, text": ("a.pcd", PCD + b"1 2 3\n4 5 six\n", "expected numbers"),
    "pcd binary, cut": ("a.pcd", ".pcd binary", "the file is truncated"),
    "pcd compressed, cut": ("a.pcd", ".pcd binary_compressed", "the file is truncated"),
    "pcd compressed, damaged": ("a.pcd", None, "damaged"),
    "ply of something else": ("a.ply", b"solid cube\nfacet", "no PLY header"),
    "ply without vertices": ("a.ply", PLY.replace(b"vertex", b"face"), "no element 'vertex'"),
    "ply of unknown type": ("a.ply", PLY.replace(b"float y", b"fload y"), "cannot be understood"),
    "ply with lists": ("a.ply", PLY.replace(b"float y", b"list uchar int y") + b"1 1 2 3\n", "a list property"),
    "ply ascii, cut": ("a.ply", PLY + b"1 2 3\n4 5\n", "row 1 has 2 values"),
    "ply ascii, text": ("a.ply", PLY + b"1 2 3\n4 5 six\n", "expected numbers"),
    "ply binary, cut": ("a.ply", ".ply binary_little_endian", "the file is truncated"),
    "las of something else": ("a.las", b"LASF" + b"\0" * 50, "not a readable .las file"),
    "las that promises millions": ("a.las", None, "promises 300000000 points"),
    "ply with fewer than no points": ("a.ply", PLY.replace(b"vertex 2", b"vertex -2"), "cannot be understood"),
    "laz, cut": ("a.laz", ".laz", "not a readable .laz file"),
    "las, cut": ("a.las", ".las", "not a readable .las file"),
    "unknown suffix": ("a.xyz", b"1 2 3\n", "unknown point file '.xyz'"),
    "labels, cut": ("a.label", b"\0" * 41, "expected a multiple of 4"),
}


def content_of(name, content, folder):
    if name == "bin with fractions for rings":
        return bin_of(np.full((4, 5), 0.5))
    if name == "las that promises millions":
        whole = written(".las", folder)
        return whole[:107] + struct.pack("<I", 300_000_000) + whole[111:]
    if name == "pcd compressed, damaged":
        whole = written(".pcd", folder, "binary_compressed")
        start = whole.index(b"binary_compressed\n") + 18
        return whole[: start + 8] + b"\xff" * (len(whole) - start - 8)
    if isinstance(content, str):
        suffix, *encoding = content.split()
        whole = written(suffix, folder, *encoding)
        return whole[: len(whole) * 9 // 10]
    return content


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file(tmp_path, name):
    file, content, message = FILES[name]
    path = tmp_path / file
    path.write_bytes(content_of(name, content, tmp_path))
    with pytest.raises(InputError) as caught:
        read_labels(path) if path.suffix == ".label" else read_points(path, 5 if "rings" in name else None)
    assert message in said(caught, str(path))


@pytest.mark.parametrize("suffix", [".bin", ".npy", ".npz", ".pcd", ".ply", ".las", ".laz", ".label"])
def test_a_missing_file_and_a_folder(tmp_path, suffix):
    read = read_labels if suffix == ".label" else read_points
    with pytest.raises(InputError) as caught:
        read(tmp_path / f"absent{suffix}")
    assert "cannot be read (No such file or directory)" in said(caught, f"absent{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(InputError) as caught:
        read(tmp_path / f"folder{suffix}")
    said(caught, f"folder{suffix}")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pcd", ".ply", ".las", ".laz"])
def test_random_damage_never_ends_in_another_exception(tmp_path, suffix):
    """Bytes overwritten, cut or inserted anywhere: a cloud or an InputError, nothing else."""
    whole = written(suffix, tmp_path, "binary_compressed" if suffix == ".pcd" else None)
    rng = np.random.default_rng(1)
    path = tmp_path / f"a{suffix}"
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(0, len(damaged)))
            if rng.random() < 0.7:
                damaged[at] = int(rng.integers(0, 256))
            elif rng.random() < 0.5:
                del damaged[at : at + int(rng.integers(1, 40))]
            else:
                damaged[at:at] = rng.bytes(5)
        path.write_bytes(damaged)
        try:
            read_points(path)
        except InputError as error:
            refused += str(path) in str(error)
    assert refused > 10


# ---- frames of a rig folder


def edit_rig(rig, key, value):
    content = yaml.safe_load((rig / "rig.yaml").read_text())
    *parents, last = key.split(".")
    node = content
    for parent in parents:
        node = node[parent]
    if value is None:
        del node[last]
    else:
        node[last] = value
    (rig / "rig.yaml").write_text(yaml.safe_dump(content))


def spoil_points(rig, rows, value):
    path = rig / "scans/000000.bin"
    scan = np.fromfile(path, np.float32).reshape(-1, 5)
    scan[rows, :3] = value
    scan.tofile(path)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


FRAMES = {
    "truncated scan": (lambda r: cut(r / "scans/000000.bin", 1003), "000000.bin", "multiple of 20"),
    "four columns instead of five": (
        lambda r: cut(r / "scans/000000.bin", 16 * 21),
        "000000.bin",
        "columns: 4 would fit",
    ),
    "scan of NaN": (lambda r: spoil_points(r, slice(None), np.nan), "000000.bin", "are NaN or infinite (first: row 0)"),
    "2 % infinite": (lambda r: spoil_points(r, slice(0, 2048, 50), np.inf), "000000.bin", "at most 1% may be"),
    "no points": (lambda r: empty_scan(r), "000000.npy", "no points in the scan"),
    "labels too short": (lambda r: cut(r / "labels/000000.label", 400), "000000.label", "100 labels, expected 2048"),
    "labels cut": (lambda r: cut(r / "labels/000000.label", 401), "000000.label", "multiple of 4"),
    "labels empty": (lambda r: cut(r / "labels/000000.label", 0), "000000.label", "0 labels, expected 2048"),
    "scan removed": (lambda r: None, "000000.bin", "No such file"),
}


def empty_scan(rig):
    (rig / "scans/000000.bin").unlink()
    np.save(rig / "scans/000000.npy", np.zeros((0, 4), np.float32))


@pytest.mark.parametrize("name", FRAMES)
def test_a_damaged_frame(tmp_path, tiny_rig, name):
    damage, file, message = FRAMES[name]
    rig = tiny_rig(tmp_path, frames=2)
    damage(rig)
    source = open_source(str(rig))
    if name == "scan removed":
        (rig / "scans/000000.bin").unlink()
    with pytest.raises(InputError) as caught:
        source[0]
    assert message in said(caught, file)
    assert len(source[1]) == 2048, "the other frame is not affected"


def save_image(path, size, mode="RGB"):
    path.unlink(missing_ok=True)
    Image.new(mode, size).save(path)


IMAGES = {
    "another size": (lambda p: save_image(p, (96, 192)), "192 x 96, the calibration says 96 x 192"),
    "cut": (lambda p: cut(p, p.stat().st_size // 2), "damaged or no image"),
    "empty": (lambda p: cut(p, 0), "damaged or no image"),
    "text": (lambda p: p.write_text("no image"), "damaged or no image"),
    "16 bits": (lambda p: save_image(p, (192, 96), "I;16"), "expected 8 bits"),
    "removed": (lambda p: p.unlink(), "No such file"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_damaged_image_is_named_when_it_is_decoded(tmp_path, tiny_rig, name):
    damage, message = IMAGES[name]
    rig = tiny_rig(tmp_path)
    view = open_source(str(rig))[0].views[0]
    damage(rig / "images/front/000000.png")
    with pytest.raises(InputError) as caught:
        view.image()
    assert message in said(caught, "front/000000.png")


def test_a_jpeg_that_ends_early(tmp_path, tiny_rig):
    rig = tiny_rig(tmp_path)
    path = rig / "images/front/000000.jpg"
    with Image.open(path.with_suffix(".png")) as image:
        image.save(path)
    path.with_suffix(".png").unlink()
    cut(path, path.stat().st_size * 2 // 3)
    with pytest.raises(InputError) as caught:
        open_source(str(rig))[0].views[0].image()
    assert "damaged or no image" in said(caught, "front/000000.jpg")


# ---- the rig folder itself


def pose(**entries):
    matrix = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    for key, value in entries.items():
        matrix[int(key[1]), int(key[2])] = value
    return matrix.tolist()


CAMERA = "cameras.front"
EYE = [[96, 0, 96], [0, 96, 48], [0, 0, 1]]
RIGS = {
    "unknown key": ("lidar.rat", 10, "unknown key 'lidar.rat'; did you mean 'rate'"),
    "unknown camera key": (f"{CAMERA}.intrinsic", EYE, "did you mean 'intrinsics'"),
    "unknown top key": ("camera", {}, "unknown key 'camera'; did you mean 'cameras'"),
    "missing key": (f"{CAMERA}.from_lidar", None, "key 'cameras.front.from_lidar' is missing"),
    "text for a number": ("lidar.rate", "fast", "lidar.rate = 'fast'"),
    "negative rate": ("lidar.rate", -10, "lidar.rate = -10"),
    "fov upside down": ("lidar.fov", [10, -30], "[lowest, highest]"),
    "no deviation": ("lidar.intensity", [1, 0], "standard deviation above 0"),
    "six columns": ("lidar.columns", 6, "lidar.columns = 6"),
    "unknown axis": ("lidar.forward", "z", "lidar.forward = 'z'"),
    "image without height": (f"{CAMERA}.height", 0, "cameras.front.height = 0"),
    "two rows": (f"{CAMERA}.intrinsics", EYE[:2], "3 rows of 3 numbers, found shape (2, 3)"),
    "uneven rows": (f"{CAMERA}.intrinsics", [[1, 2, 3], [1, 2], [1]], "3 rows of 3 numbers, found rows that differ"),
    "zero focal length": (f"{CAMERA}.intrinsics", [[0, 0, 96], [0, 96, 48], [0, 0, 1]], "focal lengths 0 and 96"),
    "intrinsics, last row": (f"{CAMERA}.intrinsics", [[96, 0, 96], [0, 96, 48], [0, 0, 0]], "must be [[fx, s, cx]"),
    "intrinsics, transposed": (f"{CAMERA}.intrinsics", [[96, 0, 0], [0, 96, 0], [96, 48, 1]], "must be [[fx, s, cx]"),
    "singular": (f"{CAMERA}.from_lidar", pose(m20=0, m21=-1, m01=0), "the rotation is singular"),
    "mirrored": (f"{CAMERA}.from_lidar", pose(m20=-1), "mirrors (determinant -1)"),
    "scaled": (f"{CAMERA}.from_lidar", pose(m20=1.01), "not a rigid transform"),
    "millimetres in the last row": (f"{CAMERA}.from_lidar", pose(m33=1000), "the last row must be [0, 0, 0, 1]"),
    "transposed": (f"{CAMERA}.from_lidar", np.array(pose(m03=0.5)).T.tolist(), "it looks transposed"),
    "not a number": (f"{CAMERA}.from_lidar", pose(m03=float("nan")), "NaN or infinite"),
    "3 x 4": (f"{CAMERA}.from_lidar", pose()[:3], "4 rows of 4 numbers, found shape (3, 4)"),
    "distortion model": (
        f"{CAMERA}.distortion",
        {"model": "fish", "coefficients": [0] * 4},
        "distortion.model = 'fish'",
    ),
    "distortion length": (f"{CAMERA}.distortion", {"model": "fisheye", "coefficients": [0, 0]}, "has 2 coefficients"),
    "unknown classes": ("classes", "city16", "did you mean 'city-16'"),
    "the same class twice": ("classes", ["a", "a"], "different class names"),
    "camera without folder": (
        "cameras.rear",
        {"height": 9, "width": 9, "intrinsics": EYE, "from_lidar": pose()},
        "rig.yaml has a camera 'rear'",
    ),
}


@pytest.mark.parametrize("name", RIGS)
def test_a_wrong_rig_file(tmp_path, tiny_rig, name):
    key, value, message = RIGS[name]
    rig = tiny_rig(tmp_path, frames=1)
    edit_rig(rig, key, value)
    with pytest.raises(InputError) as caught:
        open_source(str(rig))
    assert message in said(caught, "rear" if "rear" in key else "rig.yaml")


def write(name, text):
    return lambda rig: (rig / name).write_text(text)


def empty(folder):
    return lambda rig: [file.unlink() for file in (rig / folder).iterdir()]


FOLDERS = {
    "no rig.yaml": (lambda r: (r / "rig.yaml").unlink(), "no rig.yaml in this folder", ""),
    "no scans folder": (lambda r: (r / "scans").rename(r / "scan"), "no scans/ in this folder", ""),
    "no scans": (empty("scans"), "no scan in this folder", "scans"),
    "no images": (empty("images/front"), "no image is named like a scan", "images/front"),
    "images of another name": (
        lambda r: [p.rename(p.with_name(f"x{p.name}")) for p in list((r / "images/front").iterdir())],
        "expected 000000.jpg or .png, found x000000.png",
        "images/front",
    ),
    "two scans of one name": (write("scans/000000.ply", ""), "000000.bin and 000000.ply have the same name", "scans"),
    "two images of one name": (write("images/front/000000.jpg", ""), "have the same name", "images/front"),
    "rig.yaml is no YAML": (write("rig.yaml", "a: [1, 2\nb"), "not a YAML file", "rig.yaml"),
    "rig.yaml is a list": (write("rig.yaml", "- 1"), "expected the keys lidar and cameras", "rig.yaml"),
    "rig.yaml is empty": (write("rig.yaml", ""), "expected the keys lidar and cameras", "rig.yaml"),
    "split of an absent scan": (write("splits.yaml", "train: ['000009']"), "'000009', but no scan", "splits.yaml"),
    "split of a number": (write("splits.yaml", "train: 3"), "expected lists of scan names", "splits.yaml"),
    "scan in two splits": (
        write("splits.yaml", "{train: [000000], val: [000000]}"),
        "both 'train' and 'val'",
        "splits.yaml",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wrong_rig_folder(tmp_path, tiny_rig, name):
    damage, message, file = FOLDERS[name]
    rig = tiny_rig(tmp_path, frames=2)
    damage(rig)
    with pytest.raises(InputError) as caught:
        open_source(str(rig))
    assert message in said(caught, str(rig / file))


def test_a_rig_that_is_not_there(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"")
    for path, message in ((tmp_path / "absent", "does not exist"), (tmp_path / "file.bin", "is a file")):
        with pytest.raises(InputError) as caught:
            open_source(str(path))
        assert f"{message}, expected a rig folder" in said(caught, str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path / "empty"))
    assert "found nothing" in said(caught, "empty")


# ---- SemanticKITTI

LINES = {"P2": "700 0 600 45 0 700 170 -0.3 0 0 1 0.005", "Tr": "0 -1 0 0 0 0 -1 0 1 0 0 0"}
CALIBRATIONS = {
    "no file": (None, "cannot be read"),
    "no Tr": ({"Tr": None}, "no line 'Tr'"),
    "no P2": ({"P2": None}, "no line 'P2'"),
    "eleven numbers": ({"P2": LINES["P2"][:-6]}, "line 'P2' has 11 numbers"),
    "text": ({"Tr": LINES["Tr"].replace("-1", "one")}, "line 'Tr': could not convert"),
    "zero focal length": ({"P2": LINES["P2"].replace("700", "0")}, "P2: intrinsics have focal lengths 0 and 0"),
    "singular": ({"Tr": "0 " * 12}, "Tr: the rotation is singular"),
    "scaled": ({"Tr": LINES["Tr"].replace("1", "2")}, "Tr: not a rigid transform"),
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_wrong_kitti_calibration(tmp_path, name):
    change, message = CALIBRATIONS[name]
    root = tmp_path / "sequences/00"
    for part in ("velodyne", "image_2"):
        (root / part).mkdir(parents=True)
    (root / "velodyne/000000.bin").write_bytes(bin_of(np.ones((5, 4))))
    save_image(root / "image_2/000000.png", (20, 10))
    if change is not None:
        lines = {key: text for key, text in (LINES | change).items() if text is not None}
        (root / "calib.txt").write_text("".join(f"{key}: {text}\n" for key, text in lines.items()))
    with pytest.raises(InputError) as caught:
        open_source(f"semantic-kitti:{tmp_path}")
    assert message in said(caught, "00/calib.txt")


def test_a_damaged_kitti_frame(tmp_path):
    root = tmp_path / "00"
    for part in ("velodyne", "labels", "image_2"):
        (root / part).mkdir(parents=True)
    (root / "calib.txt").write_text("".join(f"{key}: {text}\n" for key, text in LINES.items()))
    for i, content in enumerate((bin_of(np.ones((5, 4))), struct.pack("<7f", *range(7)), bin_of(np.ones((5, 4))))):
        (root / f"velodyne/{i:06d}.bin").write_bytes(content)
    (root / "labels/000000.label").write_bytes(b"\0" * 16)
    (root / "image_2/000002.png").write_bytes(b"\x89PNG")
    source = open_source(f"semantic-kitti:{tmp_path}")
    for i, file in enumerate(("labels/000000.label", "velodyne/000001.bin", "image_2/000002.png")):
        with pytest.raises(InputError) as caught:
            source[i]
        said(caught, file)
