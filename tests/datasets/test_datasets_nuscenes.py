"""nuScenes: poses of both times, splits, sweeps, damage; a small generated folder and the real key frame."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from nuscenes_folder import HEIGHT, WIDTH, make_nuscenes

from lidistill.datasets import json_table, nuscenes
from lidistill.datasets.nuscenes import open_nuscenes, scenes_of
from lidistill.datasets.nuscenes_tables import CAMERAS
from lidistill.datasets.source import open_source
from lidistill.datasets.split_file import numbers, read_split_file
from lidistill.errors import InputError
from lidistill.sensing.cameras import project
from lidistill.sensing.pairing import pair
from lidistill.sensing.rigid import transform


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Indices go into the test's own folder, and every warning is given anew."""
    monkeypatch.setenv("LIDISTILL_CACHE", str(tmp_path / "cache"))
    nuscenes._warn.cache_clear()


@pytest.fixture
def made(tmp_path):
    return make_nuscenes(tmp_path / "nuscenes")


def test_frames(made):
    source = open_source(f"nuscenes:{made.root}")
    assert len(source) == 4
    scans = made.rows("LIDAR_TOP")
    assert [frame.token for frame in source] == [
        f"nuscenes/{scene}/{row['token']}"
        for scene, row in zip(["scene-0061"] * 2 + ["scene-0103"] * 2, scans, strict=True)
    ]
    for frame, row in zip(source, scans, strict=True):
        assert frame.timestamp == row["timestamp"] / 1e6
        assert frame.time is None
        assert frame.ring.tolist() == [i % 32 for i in range(50)]
        assert frame.intensity.tolist() == list(range(50))
        assert frame.labels.tolist() == source.taxonomy.apply(np.arange(50) % 32).tolist()
        assert frame.labels[17] == list(source.taxonomy.classes).index("car")
        assert [view.name for view in frame.views] == list(CAMERAS)
        assert frame.sensor.forward == "+y"


def test_both_ego_poses_are_in_the_chain(made):
    """A landmark appears in every camera where the camera's own pose at its own time puts it."""
    source = open_source(f"nuscenes:{made.root}")
    for camera in CAMERAS:
        for number, row in enumerate(made.rows(camera)):
            frame = source[number]
            view = frame.view(camera)
            scene = frame.token.split("/")[1]
            local = transform(made.landmarks[scene], made.from_world[row["token"]])
            assert view.timestamp == row["timestamp"] / 1e6 < frame.timestamp
            np.testing.assert_allclose(transform(frame.points, view.from_lidar), local, atol=2e-5)
            pixels, depth = project(frame.points, view)
            seen = depth > 5
            assert seen.any()
            expected = local[seen, :2] / local[seen, 2:] * 50 + [WIDTH / 2, HEIGHT / 2]
            np.testing.assert_allclose(pixels[seen], expected, atol=1e-3)
            assert view.image().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("sweeps", [1, 3])
def test_poses_take_every_scan_to_the_landmarks(made, sweeps):
    for frame in open_source(f"nuscenes:{made.root}?sweeps={sweeps}"):
        scene = frame.token.split("/")[1]
        assert frame.pose.drive == f"nuscenes/{scene}"
        world = transform(frame.points[:50].astype(float), frame.pose.to_world)
        np.testing.assert_allclose(world, made.landmarks[scene], atol=1e-4)


def test_opened_twice_the_tables_are_read_once(made, monkeypatch):
    first = open_nuscenes(made.root)
    monkeypatch.setattr(nuscenes, "read_tables", None)
    second = open_nuscenes(made.root)
    assert len(second) == len(first) == 4
    content = pickle.dumps(second.split("train"))
    assert len(content) < 3000
    np.testing.assert_array_equal(pickle.loads(content)[1].points, first[1].points)


def test_pieces_of_tables_do_not_matter(made, monkeypatch):
    whole = nuscenes.read_tables(made.root / made.version)
    monkeypatch.setattr(json_table, "CHUNK", 700)
    parts = nuscenes.read_tables(made.root / made.version)
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_the_order_of_rows_does_not_matter(made):
    before = nuscenes.read_tables(made.root / made.version)
    for name in ("sample_data", "ego_pose"):
        made.write(name, [dict(sorted(row.items())) for row in made.tables[name][::-1]])
    after = nuscenes.read_tables(made.root / made.version)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


# ---- sweeps


@pytest.mark.parametrize(("sweeps", "scans"), [(1, 1), (3, 3), (4, 4), (10, 5)])
def test_sweeps_lie_on_the_landmarks(made, sweeps, scans):
    """Three sweeps and two key frames in a scene: the second key frame has four scans before it."""
    source = open_source(f"nuscenes:{made.root}?sweeps={sweeps}")
    frame = source[1]
    near = [
        (np.abs(transform(made.landmarks["scene-0061"], made.from_world[row["token"]])[:, :2]) >= 1).any(axis=1)
        for row in [made.rows("LIDAR_TOP")[0], *made.rows("LIDAR_TOP", key=False)[:3]]
    ][::-1]
    kept = np.concatenate([np.arange(50), *[np.flatnonzero(rows) for rows in near[: scans - 1]]])
    assert len(frame) == len(kept)
    np.testing.assert_allclose(frame.points, frame.points[:50][kept], atol=1e-4)
    np.testing.assert_array_equal(frame.intensity, kept)
    np.testing.assert_array_equal(frame.ring, kept % 32)
    assert (frame.labels[50:] == 255).all()
    assert (frame.labels[:50] == source.taxonomy.apply(np.arange(50) % 32)).all()
    if sweeps > 1:
        assert np.unique(frame.time).tolist() == pytest.approx([0, 0.35, 0.4, 0.45, 0.5][:scans])
        assert (frame.time[:50] == 0).all()
    first = source[2]
    assert len(first) == 50  # nothing before it in its scene
    assert source.spec.endswith(f"nuscenes?sweeps={sweeps}" if sweeps > 1 else "nuscenes")


def test_missing_sweeps_and_labels_leave_less(made):
    gone = made.rows("LIDAR_TOP", key=False)[1]
    (made.root / gone["filename"]).unlink()
    source = open_source(f"nuscenes:{made.root}?sweeps=10")
    assert np.unique(source[1].time).tolist() == pytest.approx([0, 0.35, 0.45, 0.5])
    shutil.rmtree(made.root / "lidarseg")
    assert source[1].labels is None


def test_close_returns_of_the_car_are_cut_from_sweeps_only(made):
    for row in made.rows("LIDAR_TOP")[:2]:
        rows = np.fromfile(made.root / row["filename"], "<f4").reshape(-1, 5)
        rows[:4, :2] = [[0.9, 0.9], [0.9, 1.1], [-1.1, 0], [-0.5, 0.2]]
        rows.tofile(made.root / row["filename"])
    for row in made.rows("LIDAR_TOP", key=False):
        (made.root / row["filename"]).unlink()
    frame = open_source(f"nuscenes:{made.root}?sweeps=2")[1]
    assert len(frame) == 50  # the scan just before is not there
    frame = open_source(f"nuscenes:{made.root}?sweeps=5")[1]
    assert frame.intensity[:50].tolist() == list(range(50))
    assert frame.intensity[50:52].tolist() == [1, 2]


# ---- splits


def test_the_lists():
    official, slidr = scenes_of("v1.0-trainval"), scenes_of("v1.0-trainval", "slidr")
    assert {split: len(names) for split, names in official.items()} == {"train": 700, "val": 150, "test": 150}
    assert len(np.unique(np.concatenate(list(official.values())))) == 1000
    assert {split: len(names) for split, names in slidr.items()} == {"train": 600, "val": 100}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(slidr.values()))), official["train"])
    mini = scenes_of("v1.0-mini")
    assert {split: len(names) for split, names in mini.items()} == {"train": 8, "val": 2}
    assert np.isin(mini["train"], np.concatenate([official["train"], official["val"]])).all()
    assert numbers("3 12-14") == (3, 12, 13, 14)


def test_the_lists_equal_the_reference(parity):
    expected = json.loads(parity("08_splits/splits.json").read_text())
    lists = {split: [n.decode() for n in names] for split, names in scenes_of("v1.0-trainval", "slidr").items()}
    assert lists["train"] == expected["nuscenes_slidr_mini_split"]["mini_train_scenes"]
    assert lists["val"] == expected["nuscenes_slidr_mini_split"]["mini_val_scenes"]
    official = {split: [n.decode() for n in names] for split, names in scenes_of("v1.0-trainval").items()}
    assert official["train"][:5] == expected["nuscenes_official"]["first_train"]
    assert official["val"][:5] == expected["nuscenes_official"]["first_val"]


def test_a_changed_list_is_refused(tmp_path, monkeypatch):
    from lidistill.datasets import split_file

    shutil.copytree(split_file.DATA, tmp_path / "data")
    monkeypatch.setattr(split_file, "DATA", tmp_path / "data")
    with (tmp_path / "data/nuscenes.yaml").open("a") as file:
        file.write("# mine\n")
    read_split_file.cache_clear()
    with pytest.raises(InputError, match=r"nuscenes.yaml: expected the sha256 .* the file was changed"):
        read_split_file("nuscenes.yaml")


@pytest.mark.parametrize(
    ("version", "options", "expected"),
    [
        ("v1.0-mini", "", {"train": (0, 1), "val": (2, 3)}),
        ("v1.0-trainval", "", {"train": (0, 1, 4, 5), "val": (2, 3, 6, 7), "train-50": (4, 5)}),
        ("v1.0-trainval", "?split=slidr", {"train": (0, 1), "val": (4, 5)}),
        ("v1.0-test", "", {"train": (0, 1, 4, 5), "val": (2, 3, 6, 7), "train-50": (4, 5)}),
    ],
)
def test_splits(tmp_path, version, options, expected):
    """Scene 8 is one of SLidR's 100; 103 and 916 are validation."""
    scenes = ("scene-0061", "scene-0103", "scene-0008", "scene-0916")
    made = make_nuscenes(tmp_path / "n", scenes if version != "v1.0-mini" else scenes[:2], version, points=20)
    assert open_source(f"nuscenes:{made.root}{options}").splits == expected


def test_fractions_take_every_so_manieth_scene_of_the_table(tmp_path):
    names = [n.decode() for n in scenes_of("v1.0-trainval")["train"][:21]][::-1]
    made = make_nuscenes(tmp_path / "n", tuple(names), "v1.0-trainval", samples=1, sweeps=0, points=4)
    source = open_source(f"nuscenes:{made.root}")
    assert source.splits["train-10"] == (9, 19)
    assert source.split("train-10")[0].token.split("/")[1] == names[9]
    assert "train-1" not in source.splits


def test_versions(tmp_path, made):
    (made.root / "v1.0-trainval").mkdir()
    for table in (made.root / "v1.0-mini").iterdir():
        shutil.copy(table, made.root / "v1.0-trainval")
    assert open_source(f"nuscenes:{made.root}").version == "v1.0-trainval"
    assert open_source(f"nuscenes:{made.root}")[0].labels is None
    chosen = open_source(f"nuscenes:{made.root}?version=v1.0-mini")
    assert chosen.spec == f"nuscenes:{made.root}?version=v1.0-mini"
    assert chosen[0].labels is not None


# ---- damage


def without(path):
    path.unlink()


def cut(path, size=-7):
    path.write_bytes(path.read_bytes()[:size])


def scan_of(made, number=0):
    return made.root / made.rows("LIDAR_TOP")[number]["filename"]


def change(made, table, **values):
    """Other values in every row of a table."""
    made.write(table, [row | values for row in made.tables[table]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: without(m.table("calibrated_sensor")), r"calibrated_sensor\.json: the file is missing"),
        (lambda m: shutil.rmtree(m.root / "v1.0-mini"), r"no folder v1\.0-\*, expected nuScenes: .*; found "),
        (lambda m: cut(m.table("ego_pose")), r"ego_pose\.json: ends in row \d+ without '\]'; the file is truncated"),
        (lambda m: cut(m.table("scene")), r"scene\.json: not a JSON table \("),
        (lambda m: m.table("sample").write_text("{}"), r"sample\.json: expected a JSON list of rows"),
        (lambda m: change(m, "sample_data", ego_pose_token="no"), r"ego_pose\.json: no row 'no', which sample_data"),
        (
            lambda m: change(m, "sample_data", calibrated_sensor_token="no"),
            r"sample_data\.json: row '\w+' has calibrated_sensor_token 'no', which is not in calibrated_sensor\.json",
        ),
        (lambda m: change(m, "sample_data", sample_token="no"), r"sample_token 'no', which is not in sample\.json"),
        (lambda m: change(m, "sample", scene_token="no"), r"sample\.json: .* scene_token 'no'.* not in scene\.json"),
        (lambda m: change(m, "sample_data", timestamp="soon"), r"sample_data\.json: row '\w+': invalid literal"),
        (lambda m: change(m, "ego_pose", rotation=[0, 0, 0, 0]), r"ego_pose\.json: row '\w+' is no pose: \[0"),
        (lambda m: change(m, "ego_pose", rotation=[1, 0, 0]), r"ego_pose\.json: a pose has 6 numbers"),
        (
            lambda m: change(m, "calibrated_sensor", camera_intrinsic=[[1, 2]]),
            r"calibrated_sensor\.json: row \d: intri",
        ),
        (lambda m: change(m, "calibrated_sensor", sensor_token="no"), r"sensor_token 'no', which is not in sensor"),
        (lambda m: m.write("scene", [{"token": m.tables["scene"][0]["token"]}]), r"not in scene\.json|no key 'name'"),
        (
            lambda m: shutil.rmtree(m.root / "samples"),
            r"none of the 4 lidar scans .* is there, .* the first would be sam",
        ),
        (lambda m: change(m, "sample_data", is_key_frame=False), r"the tables have no key frame with a lidar scan"),
    ],
)
def test_damaged_tables_are_one_sentence(made, damage, message):
    damage(made)
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"nuscenes:{made.root}")
    assert str(made.root) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda scan, labels: cut(scan), r"\.pcd\.bin: 993 bytes, expected a multiple of 20 .*truncated"),
        (
            lambda scan, labels: cut(labels, -1),
            r"_lidarseg\.bin: 49 labels \(one byte each\), expected 50 as there are points",
        ),
        (lambda scan, labels: scan.write_bytes(b""), r"\.pcd\.bin: the file is empty"),
        (lambda scan, labels: np.ones((49, 4), "<f4").tofile(scan), r"columns: 4 would fit"),
        (lambda scan, labels: np.ones((50, 5), "<f8").tofile(scan), r"the values are float64"),
        (lambda scan, labels: np.full((50, 5), np.nan, "<f4").tofile(scan), r"50 of 50 points are NaN or infinite"),
        (lambda scan, labels: without(scan), r"\.pcd\.bin: cannot be read \(No such file"),
    ],
)
def test_damaged_scan(made, damage, message):
    source = open_source(f"nuscenes:{made.root}")
    token = made.rows("LIDAR_TOP")[0]["token"]
    damage(scan_of(made), made.root / f"lidarseg/v1.0-mini/{token}_lidarseg.bin")
    with pytest.raises(InputError, match=message):
        source[0]
    assert len(source[1]) == 50


def test_pictures_missing_damaged_or_of_another_size(made):
    front, right, back = (made.root / made.rows(camera)[0]["filename"] for camera in CAMERAS[:3])
    front.unlink()
    cut(right, 300)
    back.write_bytes((made.root / made.rows("CAM_FRONT")[1]["filename"]).read_bytes())
    change(made, "sample_data", height=HEIGHT + 1)
    frame = open_source(f"nuscenes:{made.root}")[0]
    assert [view.name for view in frame.views] == list(CAMERAS[1:])
    with pytest.raises(InputError, match="the image cannot be read"):
        frame.view(CAMERAS[1]).image()
    with pytest.raises(InputError, match=f"the image is {HEIGHT} x {WIDTH}, the calibration says {HEIGHT + 1} x"):
        frame.view(CAMERAS[2]).image()


def test_what_is_left_out_is_counted(made, caplog):
    """A sample without a lidar row, a key frame without its file, a scene that is in no split."""
    scans = made.rows("LIDAR_TOP")
    made.write("sample_data", [row for row in made.tables["sample_data"] if row["token"] != scans[0]["token"]])
    scan_of(made, 3).unlink()
    made.write("scene", [row | {"name": row["name"].replace("0103", "0104")} for row in made.tables["scene"]])
    with caplog.at_level(logging.WARNING, logger="lidistill"):
        source = open_source(f"nuscenes:{made.root}")
    assert len(source) == 2
    assert source.splits == {"train": (0,)}
    assert source[1].token == f"nuscenes/scene-0104/{scans[2]['token']}"
    for said in (
        "v1.0-mini: skipped 1 samples without LIDAR_TOP",
        "skipped 1 of 3 key frames, their scans are not there",
        "1 scenes (first: scene-0104) are in no split",
    ):
        assert sum(said in record.message for record in caplog.records) == 1
    open_source(f"nuscenes:{made.root}")
    assert len(caplog.records) == 3
    with pytest.raises(InputError, match=r"no split 'val'; there are: train \(1 frames\)"):
        source.split("val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("version=v1.0-minni", r"v1\.0-minni: does not exist, .*did you mean 'v1\.0-mini'"),
        ("sweeps=0", "sweeps is '0', expected a number of scans from 1 to 100"),
        ("sweeps=-3", "sweeps is '-3'"),
        ("sweeps=ten", "sweeps is 'ten'"),
        ("split=slider", "unknown split 'slider'; did you mean 'slidr'"),
        ("sweep=10", "no option 'sweep'; did you mean 'sweeps'"),
    ],
)
def test_options(made, options, message):
    with pytest.raises(InputError, match=message):
        open_source(f"nuscenes:{made.root}?{options}")


def test_a_restored_scan_is_found_without_a_new_index(made, monkeypatch):
    """Which scans are there is asked at every opening: blobs are added as they are downloaded."""
    scan = scan_of(made)
    content = scan.read_bytes()
    scan.unlink()
    assert len(open_nuscenes(made.root)) == 3
    scan.write_bytes(content)
    monkeypatch.setattr(nuscenes, "read_tables", None)
    assert len(open_nuscenes(made.root)) == 4


# ---- the real key frame


@pytest.fixture
def real_frame(real):
    return open_source(f"nuscenes:{real('nuscenes')}")[0]


def test_real_counts(real_frame):
    assert len(real_frame) == 34_688
    assert (real_frame.labels < 255).sum() == 984
    assert real_frame.token == "nuscenes/scene-0061/9d9bf11fb0e144c8b446d54a8a00184f"
    assert real_frame.timestamp == 1532402927.647951
    assert (real_frame.ring.min(), real_frame.ring.max()) == (0, 31)
    assert [view.name for view in real_frame.views] == list(CAMERAS)
    for view in real_frame.views:
        assert view.image().shape == (900, 1600, 3)
        assert -0.05 < view.timestamp - real_frame.timestamp < 0
    distance = np.linalg.norm(real_frame.points, axis=1)
    elevation = np.degrees(np.arcsin(real_frame.points[:, 2] / distance))
    beams = [np.median(elevation[(real_frame.ring == ring) & (distance > 3)]) for ring in (0, 31)]
    np.testing.assert_allclose(beams, real_frame.sensor.fov, atol=0.3)


def test_real_points_equal_the_reference(real_frame, parity):
    reference = np.load(parity("02_preprocessing/nuscenes.npz"))["points"]
    np.testing.assert_array_equal(real_frame.points, reference[:, :3])
    np.testing.assert_array_equal(real_frame.intensity, reference[:, 3])
    np.testing.assert_array_equal(real_frame.ring, reference[:, 4])


@pytest.mark.parametrize("camera", CAMERAS)
def test_real_pixels_equal_the_reference(real_frame, parity, camera):
    """The real piece has ego poses in single precision (about 0.1 mm), the fixtures exact ones."""
    expected = np.load(parity("03_point_to_pixel/nuscenes.npz"))
    pairs = pair(real_frame, real_frame.view(camera), occlusion=False)
    kept = expected[f"{camera}_kept_f64"]
    assert len(np.setxor1d(pairs.rows, kept)) <= 2
    _, mine, theirs = np.intersect1d(pairs.rows, kept, return_indices=True)
    assert np.abs(pairs.pixels[mine] - expected[f"{camera}_xy_f64"][theirs]).max() < 0.1


@pytest.fixture
def exact(parity, real, tmp_path):
    """The real folder with the poses of the fixtures."""
    root = tmp_path / "exact"
    shutil.copytree(real("nuscenes"), root)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
    calibration = json.loads(parity("03_point_to_pixel/nuscenes_calibration.json").read_text())
    tables = {
        name: json.loads((root / f"v1.0-mini/{name}.json").read_text())
        for name in ("sample_data", "ego_pose", "calibrated_sensor")
    }
    for row in tables["sample_data"]:
        channel = row["filename"].split("/")[1]
        given = calibration["point" if channel == "LIDAR_TOP" else channel]
        for name, key in (("ego_pose", "poserecord"), ("calibrated_sensor", "cs_record")):
            (old,) = [other for other in tables[name] if other["token"] == row[f"{name}_token"]]
            old |= {part: given[key][part] for part in ("rotation", "translation")}
    for name, rows in tables.items():
        (root / f"v1.0-mini/{name}.json").write_text(json.dumps(rows))
    return open_source(f"nuscenes:{root}")[0]


def test_exact_poses_give_the_pixels_of_the_reference(exact, parity):
    expected = np.load(parity("03_point_to_pixel/nuscenes.npz"))
    for camera in CAMERAS:
        pairs = pair(exact, exact.view(camera), occlusion=False)
        np.testing.assert_array_equal(pairs.rows, expected[f"{camera}_kept_f64"])
        assert np.abs(pairs.pixels - expected[f"{camera}_xy_f64"]).max() < 1e-5


# ---- what the page says


def test_the_page_names_every_option_and_its_figures_are_measured():
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs/reference/nuscenes.md").read_text()
    for option, parameter in inspect.signature(open_nuscenes).parameters.items():
        assert parameter.kind is not parameter.KEYWORD_ONLY or f"| `{option}` |" in page
    result = json.loads((root / "benchmarks/results/nuscenes_index.json").read_text())
    assert result["generated"]["rows"]["sample_data"] == 2_631_083
    assert result["first_open"]["frames"] == 34_149
    assert f"| {result['first_open']['wall_s']:.0f} s (" in page
    assert result["first_open"]["wall_s"] < 60
    assert max(later["wall_s"] for later in result["later_opens"]) < 0.5
    assert max(max(worker["private_mb"]) for worker in result["workers"].values()) < 300
