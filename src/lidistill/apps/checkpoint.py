"""``lidistill import-checkpoint``: a released checkpoint becomes a run folder."""

from __future__ import annotations

from pathlib import Path

from lidistill import __version__
from lidistill.errors import InputError
from lidistill.students.checkpoints import import_checkpoint as read_checkpoint
from lidistill.students.network import Network
from lidistill.taxonomy import load as load_taxonomy
from lidistill.training.run import ModelConfig, Run, RunConfig

Box = tuple[float, float, float, float, float, float]


def import_checkpoint(
    file: str | Path, out: str | Path, *, activation: str, fov: Box, cell: float, taxonomy: str | None, overwrite: bool
) -> Path:
    """Write the network in ``file`` as the run folder ``out``. See ``lidistill.verbs.import_checkpoint``."""
    imported = read_checkpoint(
        Path(file),
        activation=None if activation == "auto" else activation,
        fov=((fov[0], fov[1]), (fov[2], fov[3]), (fov[4], fov[5])),
        cell=cell,
    )
    classes = None
    if imported.stage == "downstream":
        outputs = imported.head.outputs
        classes = load_taxonomy(taxonomy).classes if taxonomy else tuple(f"class-{i}" for i in range(outputs))
        if len(classes) != outputs:
            raise InputError(
                f"{file}: its head has {outputs} classes, {taxonomy} has {len(classes)}; name another --taxonomy"
            )
    elif taxonomy:
        raise InputError(f"{file}: is a pretraining checkpoint without classes; leave out --taxonomy")
    model = ModelConfig(student=imported.student, head=imported.head, classes=classes, taxonomy=taxonomy)
    config = RunConfig(verb="import-checkpoint", sources=(str(file),), model=model, version=__version__)
    network = Network(imported.student, imported.head)
    network.load_state_dict(imported.state)
    run = Run.create(out, config, overwrite=overwrite)
    run.save_network(network)
    return run.path
