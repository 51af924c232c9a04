"""Result cards: round trip, merging over seeds, errors that name the cause."""

import json
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from lidistill.errors import InputError
from lidistill.evaluation.card import Metric, experiment, make_card, merge_cards, read_card, tokens_checksum, write_card


class Frames:
    """A source of which a card needs the spec and the tokens."""

    spec = "rig:/data/city"

    def __init__(self, *tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return SimpleNamespace(token=self.tokens[index])


def card(seed=0, miou=0.5, source=None, **changes):
    arguments = {
        "name": f"probe-{seed}",
        "verb": "probe",
        "recipe": {"recipe": {"lr": 1e-3, "seed": seed}, "parent": f"runs/pretrain-{seed}"},
        "source": source or Frames("a", "b"),
        "split": "val",
        "seeds": [seed],
        "metrics": {"miou": miou},
    }
    return make_card(**{**arguments, **changes})


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "card.json"
    made = card()
    write_card(made, path)
    assert read_card(path) == made
    assert [p.name for p in path.parent.iterdir()] == ["card.json"]
    record = json.loads(path.read_text())
    assert record["metrics"]["miou"] == {"mean": 0.5, "std": None, "values": [0.5]}
    assert record["data"]["frames"] == 2
    assert record["hardware"]["cpu"]
    assert record["hardware"]["threads"] >= 1
    assert {"python", "torch", "numpy", "lidistill"} <= record["software"].keys()
    assert record["created"].endswith("+00:00")


def test_undefined_metric_survives_json(tmp_path):
    write_card(card(miou=float("nan")), tmp_path / "card.json")
    assert read_card(tmp_path / "card.json").metrics["miou"] == Metric(mean=None, std=None, values=(None,))


def test_cards_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        card().name = "better"


def test_checksum_tells_frames_and_their_order_apart():
    checksums = {tokens_checksum(t) for t in (["a", "b"], ["b", "a"], ["ab"], ["a"], [], ["a", "b", ""])}
    assert len(checksums) == 6
    assert card().data.checksum == tokens_checksum(["a", "b"])
    assert card(tokens=["b"]).data == card(source=Frames("b")).data


def test_merge_gives_mean_and_sample_spread():
    merged = merge_cards([card(0, 0.4), card(1, 0.6), card(2, 0.8)], name="probe")
    assert (merged.name, merged.seeds) == ("probe", (0, 1, 2))
    miou = merged.metrics["miou"]
    assert (miou.mean, miou.std) == (pytest.approx(0.6), pytest.approx(0.2))
    assert miou.values == (0.4, 0.6, 0.8)
    again = merge_cards([merged, card(3, 1.0)])
    assert again.seeds == (0, 1, 2, 3)
    assert again.metrics["miou"].mean == pytest.approx(0.7)


def test_merge_keeps_a_metric_that_one_seed_lacks():
    merged = merge_cards([card(0, metrics={"miou": 0.5, "iou/bus": 0.0}), card(1)])
    assert merged.metrics["iou/bus"] == Metric(mean=0.0, std=None, values=(0.0, None))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"verb": "finetune"}, r"differ in their verb \(probe, finetune\)"),
        ({"source": Frames("a", "c")}, r"differ in their data \(checksum: "),
        ({"split": "train"}, r"differ in their data \(split: val, train\)"),
        ({"recipe": {"recipe": {"lr": 1e-2}}}, "differ in their recipe"),
        ({"seeds": [0]}, r"repeat a seed \(\[0, 0\]\)"),
    ],
)
def test_only_seeds_may_differ(other, message):
    with pytest.raises(InputError, match=message):
        merge_cards([card(0), card(1, **other)])


def test_a_switch_that_one_version_did_not_know_is_off():
    def made(seed, **head):
        return card(seed, recipe={"model": {"head": {"hidden": None, **head}}})

    assert merge_cards([made(0), made(1, both=False)]).seeds == (0, 1)
    with pytest.raises(InputError, match=r"differ in their recipe \(both: None, True\)"):
        merge_cards([made(0), made(1, both=True)])


def test_what_a_seed_kept_and_where_it_was_started_is_no_other_experiment():
    """Nor is a card of a version that wrote neither down."""

    def made(seed, **said):
        return card(seed, recipe={"recipe": {"lr": 1e-3}, **said})

    kept = made(1, base="../..", evaluation={"kept_round": 0})
    assert merge_cards([made(0), kept, made(2, evaluation={"kept_round": 1})]).seeds == (0, 1, 2)
    assert experiment(made(0)) == experiment(kept)
    mapped = made(1, evaluation={"kept_round": 0, "map": "kitti-10"})
    with pytest.raises(InputError, match="differ in their recipe"):
        merge_cards([made(0), mapped])


def test_other_weights_of_a_teacher_are_another_experiment():
    def taught(seed, *weights):
        return card(seed, recipe={"teacher_weights": {"runs/images": weights[0]}} if weights else {})

    assert merge_cards([taught(0, "a"), taught(1, "a"), taught(2)]).seeds == (0, 1, 2)
    with pytest.raises(InputError, match=r"differ in their teachers \(runs/images: a, b\)"):
        merge_cards([taught(0, "a"), taught(1, "b")])


def test_nothing_to_merge():
    with pytest.raises(InputError, match="no card to merge"):
        merge_cards([])


def test_files_that_are_no_cards_are_named(tmp_path):
    path = tmp_path / "card.json"
    with pytest.raises(InputError, match=r"card\.json: cannot be read"):
        read_card(path)
    path.write_text('{"name": "a"')
    with pytest.raises(InputError, match=r"card\.json: is not a result card \(the file: Invalid JSON"):
        read_card(path)
    made = card().model_dump(mode="json")
    del made["data"]["checksum"]
    path.write_text(json.dumps(made))
    with pytest.raises(InputError, match=r"card\.json: is not a result card \(data\.checksum: Field required"):
        read_card(path)
