from __future__ import annotations

import os
import resource
import stat
import struct
import sys
from dataclasses import fields

import numpy as np
import pytest

from lidistill.errors import InputError, RunError
from lidistill.sensing.files import PointFile, lzf, pcd, ply, read_labels, read_points, write_labels, write_points
from lidistill.sensing.files.atomic import write_atomically


def cloud(n=257, seed=0, **absent):
    rng = np.random.default_rng(seed)
    columns = {
        "points": rng.normal(0, 30, (n, 3)).astype(np.float32),
        "intensity": rng.random(n).astype(np.float32),
        "ring": rng.integers(0, 64, n).astype(np.int32),
        "time": np.sort(rng.random(n)).astype(np.float32),
        "labels": rng.integers(0, 2**31, n).astype(np.uint32),
        "colors": rng.integers(0, 256, (n, 3)).astype(np.uint8),
    }
    return PointFile(**(columns | absent))


def assert_same(found, expected, atol=0.0, without=()):
    for field in fields(PointFile):
        got, want = getattr(found, field.name), getattr(expected, field.name)
        if field.name in without or want is None:
            assert got is None, field.name
            continue
        assert got.dtype == want.dtype, field.name
        np.testing.assert_allclose(got, want, rtol=0, atol=atol if field.name == "points" else 0, err_msg=field.name)


ONLY_POINTS = {"intensity": None, "ring": None, "time": None, "labels": None, "colors": None}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pcd", ".ply", ".las", ".laz"])
@pytest.mark.parametrize("absent", [{}, {"colors": None, "labels": None}, ONLY_POINTS], ids=["all", "some", "xyz"])
def test_every_column_comes_back(tmp_path, suffix, absent):
    path = tmp_path / f"scan{suffix}"
    written = cloud(**absent)
    write_points(path, written)
    assert_same(read_points(path), written, atol=6e-5 if suffix in (".las", ".laz") else 0)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "no temporary file stays"


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33])
@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_pcd_encodings(tmp_path, encoding, n):
    path = tmp_path / "scan.pcd"
    pcd.write(path, cloud(n), encoding)
    assert_same(read_points(path), cloud(n))


@pytest.mark.parametrize("n", [0, 1, 33])
@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_encodings(tmp_path, encoding, n):
    path = tmp_path / "scan.ply"
    ply.write(path, cloud(n), encoding)
    assert_same(read_points(path), cloud(n))


# ---- .bin


def test_bin_of_four_and_five_columns(tmp_path):
    for absent in ({}, {"ring": None}):
        path = tmp_path / "scan.bin"
        write_points(path, cloud(**absent))
        columns = 4 if absent else 5
        assert path.stat().st_size == 257 * columns * 4
        assert_same(read_points(path, columns), cloud(**absent), without=("time", "labels", "colors"))
        assert_same(read_points(path), cloud(**absent), without=("time", "labels", "colors"))


@pytest.mark.parametrize("n", [20, 40, 400])
def test_bin_columns_are_told_apart_when_both_sizes_fit(tmp_path, n):
    path = tmp_path / "scan.bin"
    write_points(path, cloud(n))
    assert read_points(path).ring is not None
    write_points(path, cloud(n, ring=None))
    assert path.stat().st_size % 20 == 0
    assert read_points(path).ring is None
    assert len(read_points(path)) == n


def test_bin_with_the_wrong_columns_says_which_would_fit(tmp_path):
    path = tmp_path / "scan.bin"
    write_points(path, cloud(7, ring=None))
    with pytest.raises(InputError, match=r"scan\.bin: 112 bytes.*columns: 4 would fit"):
        read_points(path, 5)
    write_points(path, cloud(20, ring=None))
    with pytest.raises(InputError, match=r"ring is .* expected a whole number"):
        read_points(path, 5)


def test_bin_of_a_lidar_with_nan_rows_is_kept_as_it_is(tmp_path):
    rows = np.zeros((10, 5), np.float32)
    rows[3], rows[4, 0], rows[5, 3] = np.nan, np.inf, np.nan
    rows.tofile(tmp_path / "scan.bin")
    found = read_points(tmp_path / "scan.bin", 5)
    assert len(found) == 10
    assert np.flatnonzero(~found.finite()).tolist() == [3, 4, 5]
    assert found.ring[3] == -1
    assert len(found.select(found.finite())) == 7


def test_real_scans(real):
    kitti = real("semantickitti") / "dataset/sequences/00"
    found = read_points(kitti / "velodyne/000000.bin")
    assert found.ring is None
    assert len(found) == len(read_labels(kitti / "labels/000000.label"))
    assert 0 <= found.intensity.min() <= found.intensity.max() <= 1
    nuscenes = read_points(next((real("nuscenes") / "samples/LIDAR_TOP").glob("*.pcd.bin")))
    assert len(nuscenes) == 34_688
    assert (nuscenes.ring.min(), nuscenes.ring.max()) == (0, 31)


# ---- .npy, .npz


def test_npy_rows(tmp_path):
    path = tmp_path / "scan.npy"
    rows = np.column_stack([cloud().points, cloud().intensity, cloud().ring, cloud().time]).astype(np.float64)
    for columns in (3, 4, 5, 6):
        np.save(path, rows[:, :columns])
        found = read_points(path)
        np.testing.assert_array_equal(found.points, cloud().points)
        assert [found.intensity is not None, found.ring is not None, found.time is not None] == [
            columns > 3,
            columns > 4,
            columns > 5,
        ]


def test_npz_with_points_and_other_names(tmp_path):
    path = tmp_path / "scan.npz"
    np.savez(path, points=cloud().points, Remission=cloud().intensity, laser_id=cloud().ring.astype(np.uint8))
    found = read_points(path)
    assert_same(found, cloud(time=None, labels=None, colors=None))
    np.savez(path, cloud().points)
    assert len(read_points(path)) == 257


def test_times_since_1970_keep_their_steps(tmp_path):
    path = tmp_path / "scan.npz"
    np.savez(path, points=np.zeros((3, 3)), time=np.array([1.7e9, 1.7e9 + 0.05, 1.7e9 + 0.1]))
    np.testing.assert_allclose(read_points(path).time, [0, 0.05, 0.1], atol=1e-6)


# ---- .pcd


def handmade_pcd(fields, sizes, kinds, counts, rows, data="binary", **lines):
    header = {"VERSION": "0.7", "FIELDS": fields, "SIZE": sizes, "TYPE": kinds, "COUNT": counts}
    header |= {"WIDTH": rows, "HEIGHT": 1, "POINTS": rows, **lines, "DATA": data}
    return ("# made by hand\n" + "".join(f"{k} {v}\n" for k, v in header.items() if v is not None)).encode()


def test_pcd_any_types_counts_padding_and_order(tmp_path):
    path = tmp_path / "scan.pcd"
    layout = np.dtype(
        [
            ("rgb", "<f4"),
            ("_", "u1", 3),
            ("z", "<f8"),
            ("normal", "<f4", 3),
            ("y", "<f4"),
            ("_2", "u1", 5),
            ("x", "<i2"),
            ("Intensity", "u1"),
            ("ring", "<u8"),
            ("label", "<i4"),
        ]
    )
    rows = np.zeros(6, layout)
    rows["x"], rows["y"], rows["z"] = np.arange(6) - 2, 0.5, np.linspace(0, 1, 6)
    rows["Intensity"], rows["ring"], rows["label"] = 200, np.arange(6), 7
    rows["rgb"] = np.array([0x00102030] * 6, np.uint32).view(np.float32)
    header = handmade_pcd(
        "rgb _ z normal y _ x Intensity ring label",
        "4 1 8 4 4 1 2 1 8 4",
        "F U F F F U I U U I",
        "1 3 1 3 1 5 1 1 1 1",
        6,
    )
    path.write_bytes(header + rows.tobytes())
    found = read_points(path)
    np.testing.assert_allclose(found.points, np.stack([rows["x"], rows["y"], rows["z"]], 1))
    assert found.intensity.tolist() == [200] * 6
    assert found.ring.tolist() == list(range(6))
    assert found.labels.tolist() == [7] * 6
    assert found.colors.tolist() == [[0x10, 0x20, 0x30]] * 6
    columns = b"".join(np.ascontiguousarray(rows[name]).tobytes() for name in layout.names)
    packed = lzf.store(columns)
    body = struct.pack("<II", len(packed), len(columns)) + packed
    path.write_bytes(header.replace(b"DATA binary", b"DATA binary_compressed") + body)
    assert_same(read_points(path), found)


def test_pcd_ascii_organised_with_nan_and_crlf(tmp_path):
    path = tmp_path / "scan.pcd"
    header = handmade_pcd("x y z ring", "4 4 4 2", "F F F U", "1 1 1 1", 4, "ascii", WIDTH=2, HEIGHT=2, POINTS=None)
    path.write_bytes((header + b"1 2 3 0\nnan nan nan 1\n-1e2 .5 7 2\n0 0 0 3.0\n").replace(b"\n", b"\r\n"))
    found = read_points(path)
    assert found.finite().tolist() == [True, False, True, True]
    assert found.ring.tolist() == [0, 1, 2, 3]
    assert found.points[2].tolist() == [-100, 0.5, 7]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"\x02abc\x20\x02", b"abcabc"),  # copy of 3 from distance 3
        (b"\x00a\xe0\x05\x00", b"a" * 15),  # overlapping copy, long form: 7 + 5 + 2
        (b"\x02abc\x80\x01\x00!", b"abcbcbcbc!"),  # length 6 from distance 2, then a literal
        (b"", b""),
    ],
)
def test_lzf_streams_worked_out_by_hand(stream, expected):
    assert lzf.decompress(stream, len(expected)) == expected


def test_lzf_far_copy():
    head = bytes(range(256)) * 32
    stream = lzf.store(head) + bytes([(1 << 5) | (8191 >> 8), 8191 & 255])
    assert lzf.decompress(stream, len(head) + 3) == head + head[:3]


@pytest.mark.parametrize("stream", [b"\x02ab", b"\x20\x05", b"\x00a\xe0", b"\x00a\x20", b"\x00a\x00b"])
def test_lzf_damaged_streams(stream):
    with pytest.raises(ValueError, match=r"expected|token|before"):
        lzf.decompress(stream, 1)


# ---- .ply


def test_ply_skips_other_elements_and_takes_any_order(tmp_path):
    path = tmp_path / "scan.ply"
    lines = ["ply", "format {} 1.0", "comment by hand", "element face 2", "property list uchar int vertex_indices"]
    lines += ["property uchar flag", "element camera 1", "property float f", "element vertex 2"]
    lines += [
        "property uchar blue",
        "property double z",
        "property short x",
        "property float y",
        "property uchar green",
    ]
    lines += ["property uchar red", "property uint label", "element edge 1", "property int a", "end_header"]
    header = "\n".join(lines) + "\n"
    ascii_body = "3 0 1 2 9\n2 0 1 8\n1.5\n3 0.25 -7 2.5 2 1 40\n6 0.5 8 3.5 5 4 50\n12\n"
    path.write_text(header.format("ascii") + ascii_body)
    found = read_points(path)
    assert found.points.tolist() == [[-7, 2.5, 0.25], [8, 3.5, 0.5]]
    assert found.colors.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.labels.tolist() == [40, 50]
    for name, order in (("binary_little_endian", "<"), ("binary_big_endian", ">")):
        body = struct.pack(order + "B3iBB2iB", 3, 0, 1, 2, 9, 2, 0, 1, 8) + struct.pack(order + "f", 1.5)
        body += struct.pack(order + "BdhfBBI", 3, 0.25, -7, 2.5, 2, 1, 40)
        body += struct.pack(order + "BdhfBBI", 6, 0.5, 8, 3.5, 5, 4, 50) + struct.pack(order + "i", 12)
        path.write_bytes(header.format(name).encode() + body)
        assert_same(read_points(path), found)


# ---- .las


def test_las_written_by_others(tmp_path):
    import laspy

    content = laspy.create(point_format=7, file_version="1.4")
    content.header.scales = np.full(3, 0.001)
    content.x, content.y, content.z = np.array([[1.0, -2, 3], [4, 5, -6]]).T
    content.intensity, content.classification = [300, 65535], [2, 5]
    content.red, content.green, content.blue = np.array([[65535, 256, 0], [0, 0, 65535]], np.uint16).T
    content.gps_time = [1e9, 1e9 + 0.05]
    content.write(tmp_path / "scan.laz")
    found = read_points(tmp_path / "scan.laz")
    np.testing.assert_allclose(found.points, [[1, -2, 3], [4, 5, -6]])
    assert found.intensity.tolist() == [300, 65535]
    assert found.labels.tolist() == [2, 5]
    assert found.colors.tolist() == [[255, 1, 0], [0, 0, 255]]
    np.testing.assert_allclose(found.time, [0, 0.05], atol=1e-6)


def test_las_without_laspy_names_the_command(tmp_path, monkeypatch):
    path = tmp_path / "scan.las"
    write_points(path, cloud())
    monkeypatch.setitem(sys.modules, "laspy", None)
    with pytest.raises(InputError, match=r"scan\.las: \.las files need laspy; .*pip install 'lidistill\[las\]'"):
        read_points(path)


def test_map_coordinates_are_refused(tmp_path):
    import laspy

    content = laspy.create()
    content.header.offsets = [4.5e5, 5.4e6, 0]
    content.x, content.y, content.z = np.array([[4.5e5, 5.4e6, 30.0]]).T
    content.write(tmp_path / "map.las")
    with pytest.raises(InputError, match=r"map\.las: coordinates reach 4.5e\+05 m.*subtract the sensor's position"):
        read_points(tmp_path / "map.las")


# ---- .label


def test_labels_come_back(tmp_path):
    labels = np.array([0, 1, 2**31, 2**32 - 1], np.uint32)
    write_labels(tmp_path / "a" / "scan.label", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a" / "scan.label"), labels)
    assert read_labels(tmp_path / "a" / "scan.label").dtype == np.uint32
    with pytest.raises(InputError, match="integers"):
        write_labels(tmp_path / "scan.label", np.zeros(3))


# ---- whole or not at all


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "scan.bin"
    path.write_bytes(b"old")

    def fail(temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["scan.bin"]


@pytest.mark.parametrize("name", ["a.bin", "a.npy", "a.npz", "a.pcd", "a.ply", "a.las", "a.laz", "a.label"])
def test_full_disk(tmp_path, name):
    """A limit on the file size makes the kernel stop the write in the middle, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    write, content = (write_labels, cloud(9999).labels) if name == "a.label" else (write_points, cloud(9999))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(RunError, match=rf"{name}: the disk is full"):
            write(tmp_path / name, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"scan\.ply: cannot be written .*choose another place"):
        write_points(tmp_path / "file" / "scan.ply", cloud())
    (tmp_path / "scan.ply").mkdir()
    with pytest.raises(InputError, match=r"scan\.ply: cannot be written"):
        write_points(tmp_path / "scan.ply", cloud())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "scan.ply"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"scan\.ply: cannot be written .*choose another place"):
        write_points(tmp_path / "scan.ply", cloud())
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_files_get_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    write_points(tmp_path / "scan.ply", cloud())
    assert stat.S_IMODE((tmp_path / "scan.ply").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_so_do_files_whose_writer_makes_one_of_its_own(tmp_path):
    def private(file):
        file.unlink()
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))

    (tmp_path / "usual").write_text("")
    write_atomically(tmp_path / "weights", private)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_unknown_suffix(tmp_path):
    for call in (lambda p: read_points(p), lambda p: write_points(p, cloud())):
        with pytest.raises(InputError, match=r"unknown point file '.plyy'; did you mean '.ply'"):
            call(tmp_path / "scan.plyy")
    with pytest.raises(InputError, match=r"\.bin needs an intensity"):
        write_points(tmp_path / "scan.bin", cloud(intensity=None))
