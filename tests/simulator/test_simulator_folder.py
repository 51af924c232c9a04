"""``simulate`` writes a rig folder: layout, determinism, resuming, refusing."""

from __future__ import annotations

import builtins
import hashlib
from importlib import import_module

import numpy as np
import pytest
import yaml
from PIL import Image

from lidistill.datasets.pictures.pictures import open_pictures
from lidistill.datasets.source import open_source
from lidistill.errors import InputError
from lidistill.sensing.pairing import pair
from lidistill.sensing.rigid import invert, transform
from lidistill.simulator import scene, simulate, simulate_frame
from lidistill.simulator import simulate as simulate_verb
from lidistill.transforms.nearest import nearest

pytest.importorskip("embreex")


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("city") / "rig"
    return simulate(out, sensor="solid-state", style="old-town", scenes=2, frames=2, seed=4)


def test_layout(folder):
    rig = yaml.safe_load((folder / "rig.yaml").read_text())
    assert rig["classes"] == "city-16"
    assert rig["lidar"]["columns"] == 5
    assert rig["lidar"]["rings"] == 150
    splits = yaml.safe_load((folder / "splits.yaml").read_text())
    assert splits == {"train": ["0000_00", "0000_01"], "val": ["0001_00", "0001_01"]}
    values = []
    for stem in splits["train"] + splits["val"]:
        scan = np.fromfile(folder / "scans" / f"{stem}.bin", "<f4").reshape(-1, 5)
        labels = np.fromfile(folder / "labels" / f"{stem}.label", "<u4")
        assert len(scan) == len(labels)
        assert labels.max() <= 36
        assert np.array_equal(scan[:, 4], np.round(scan[:, 4]))
        values.append(scan[:, 3])
        for name, camera in rig["cameras"].items():
            with Image.open(folder / "images" / name / f"{stem}.jpg") as image:
                assert image.size == (camera["width"], camera["height"])
    values = np.concatenate(values)
    assert rig["lidar"]["intensity"] == pytest.approx([values.mean(), values.std()], rel=1e-3)


def test_reader_of_users_folders_reads_it(folder):
    source = open_source(str(folder))
    assert len(source) == 4
    frame = source[0]
    assert frame.labels is not None
    assert frame.labels.max() < 16
    assert frame.views[0].image().shape == (256, 448, 3)
    assert len(source.split("val")) == 2


def test_same_bytes_with_two_workers_and_after_an_interruption(folder, tmp_path):
    again = simulate(tmp_path / "again", sensor="solid-state", style="old-town", scenes=2, frames=2, seed=4, workers=2)
    assert digest(again) == digest(folder)
    for name in ("rig.yaml", "poses.csv", "scans/0001_01.bin", "images/front/0000_00.jpg"):
        (again / name).unlink()
    simulate(again, sensor="solid-state", style="old-town", scenes=2, frames=2, seed=4)
    assert digest(again) == digest(folder)


def test_masks_are_the_classes_of_the_pixels(folder, tmp_path):
    """Beside the same files as without, but for the settings; they show what the lidar says of the points there."""
    options = {"sensor": "solid-state", "style": "old-town", "scenes": 2, "frames": 2, "seed": 4}
    out = simulate(tmp_path / "rig", **options, masks=True)
    files = digest(out)
    masks = {name: files.pop(name) for name in list(files) if name.startswith("masks/")}
    plain = digest(folder)
    assert files.pop("simulation.yaml") != plain.pop("simulation.yaml")
    assert files == plain
    assert sorted(masks) == [f"masks/front/{stem}.png" for stem in ("0000_00", "0000_01", "0001_00", "0001_01")]
    place = scene("solid-state", "old-town", 1, seed=4, frames=2)
    mask = np.array(Image.open(out / "masks/front/0001_01.png"))
    np.testing.assert_array_equal(mask, simulate_frame(place, 1).image_labels["front"])
    source, pictures = open_source(str(out)), open_pictures(str(out))
    assert {split: len(rows) for split, rows in pictures.splits.items()} == {"train": 2, "val": 2}
    for frame, picture in zip(source, pictures, strict=True):
        pairs = pair(frame, frame.views[0])
        u, v = np.round(pairs.pixels).astype(int).T
        assert (picture.classes[v, u] == frame.labels[pairs.rows]).mean() > 0.9
    for name in ("rig.yaml", "masks/front/0001_01.png"):
        (out / name).unlink()
    simulate(out, **options, masks=True)
    assert {name: value for name, value in digest(out).items() if name.startswith("masks/")} == masks


def test_masks_without_images(tmp_path):
    with pytest.raises(InputError, match="masks are of images; leave one of --masks and --no-images out"):
        simulate(tmp_path / "rig", sensor="solid-state", scenes=1, masks=True, images=False)
    assert not (tmp_path / "rig").exists()


def test_poses_are_those_of_the_recorded_frames(folder):
    source = open_source(str(folder))
    assert [frame.pose.drive for frame in source] == ["rig/0000"] * 2 + ["rig/0001"] * 2
    place = scene("solid-state", "old-town", 1, seed=4, frames=2)
    for index in range(2):
        recorded = simulate_frame(place, index, images=False)
        np.testing.assert_allclose(source[2 + index].pose.to_world, recorded.to_world, atol=1e-6)
    assert not (folder / "poses").exists()


def test_walls_stand_still(folder):
    """Walls of the second scan of a drive, moved by the poses, are where the first saw them."""
    source = open_source(str(folder))
    walls = [frame.points[frame.labels == source.taxonomy.classes.index("manmade")] for frame in source]

    def gap(first, points):
        return np.median(np.linalg.norm(points - walls[first][nearest(walls[first], points)], axis=1))

    for first in (0, 2):
        step = invert(source[first].pose.to_world) @ source[first + 1].pose.to_world
        assert 2 < np.linalg.norm(step[:3, 3]) < 4
        moved = gap(first, transform(walls[first + 1], step))
        assert moved < 0.1
        assert 2 * moved < gap(first, walls[first + 1])


def test_poses_of_an_interrupted_call(folder, tmp_path, monkeypatch):
    """Those of the finished scene are kept, and it is not built again; a lost table is written again."""
    module = import_module("lidistill.simulator.simulate")  # the package has a function of this name
    options = {"sensor": "solid-state", "style": "old-town", "scenes": 2, "frames": 2, "seed": 4, "images": False}
    write, built = module.write_frame, []

    def interrupted(out, stem, *recorded):
        if stem == "0001_01":
            raise KeyboardInterrupt
        write(out, stem, *recorded)

    monkeypatch.setattr(module, "write_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "rig", **options)
    assert [path.name for path in (tmp_path / "rig/poses").iterdir()] == ["0000.csv"]
    assert not (tmp_path / "rig/poses.csv").exists()
    monkeypatch.setattr(module, "write_frame", write)
    monkeypatch.setattr(module, "scene", lambda *args: built.append(args[2]) or scene(*args))
    simulate(tmp_path / "rig", **options)
    assert built == [1]
    assert (tmp_path / "rig/poses.csv").read_bytes() == (folder / "poses.csv").read_bytes()
    for name in ("rig.yaml", "poses.csv"):
        (tmp_path / "rig" / name).unlink()
    simulate(tmp_path / "rig", **options)
    assert (tmp_path / "rig/poses.csv").read_bytes() == (folder / "poses.csv").read_bytes()
    assert not (tmp_path / "rig/poses").exists()


def test_a_folder_in_use_is_refused_and_only_own_files_are_overwritten(tmp_path):
    out = tmp_path / "rig"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    options = {"sensor": "spinning-32", "scenes": 1, "frames": 1, "images": False}
    with pytest.raises(InputError, match=r"not empty \(it has notes.txt\)"):
        simulate(out, **options)
    simulate(out, **options, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert yaml.safe_load((out / "splits.yaml").read_text()) == {"train": ["0000_00"], "val": []}
    assert yaml.safe_load((out / "rig.yaml").read_text())["cameras"] == {}
    with pytest.raises(InputError, match="not empty"):
        simulate(out, **options)
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sensor": "spining-64"}, "did you mean 'spinning-64'"),
        ({"style": "gird"}, "did you mean 'grid'"),
        ({"scenes": 0}, "scenes must be at least 1, found 0"),
        ({"frames": -1}, "frames must be at least 1, found -1"),
        ({"workers": 0}, "workers must be at least 1, found 0"),
        ({"seed": -3}, "seed must not be negative, found -3"),
    ],
)
def test_bad_arguments_are_explained_and_leave_nothing_behind(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        simulate(tmp_path / "rig", **{"sensor": "spinning-32", "scenes": 1, **change})
    assert not (tmp_path / "rig").exists()


def test_an_output_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "rig").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        simulate(tmp_path / "rig", sensor="spinning-32", scenes=1)


def test_missing_ray_caster_names_the_command(tmp_path, monkeypatch):
    real = builtins.__import__

    def fail(name, *args, **kwargs):
        if name.startswith("embreex"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(InputError, match=r"pip install 'lidistill\[sim\]'"):
        simulate_verb(tmp_path / "rig", sensor="spinning-32", scenes=1)
    assert not (tmp_path / "rig").exists()
