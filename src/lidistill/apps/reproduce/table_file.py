"""What a table consists of: a strict YAML file; those of the paper at two scales, one's own at one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import lidistill
from lidistill.errors import InputError, nearest
from lidistill.evaluation.settings import Setting, load_setting

FOLDER = resources.files("lidistill.apps.reproduce") / "tables"
VERBS = ("pretrain", "probe", "finetune", "adapt", "evaluate")
OURS = {"out", "data", "sources", "source", "target", "run", "seed", "resume", "overwrite", "set"}
"""Arguments of the verbs that the plan fills in itself (``set`` is merged)."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class City(_Part):
    """A synthetic city, simulated when it is not there."""

    sensor: str
    style: str = "grid"
    scenes: int = 25
    frames: int = 2
    seed: int = 1


class Step(_Part):
    """One run: a verb, its data, its options as on the command line."""

    verb: Literal["pretrain", "probe", "finetune", "adapt", "evaluate"]
    data: tuple[str, ...] = ()
    """Names of the table's data, or of a row's; none = those of the column. ``adapt`` has two, source and target."""
    options: dict[str, Any] = Field(default_factory=dict)
    without_parent: dict[str, Any] = Field(default_factory=dict)
    """Options of a step that starts from random weights, in place of those above."""
    needs_parent: bool = False
    """The step is left out where there is nothing pretrained to start from."""

    @model_validator(mode="before")
    @classmethod
    def _options(cls, values: Any) -> Any:
        """``{verb: probe, recipe: city-probe}``: whatever is no key of a step is an option of its verb."""
        if not isinstance(values, dict):
            return values
        if values.get("verb") not in VERBS:
            raise ValueError(f"there is no verb {values.get('verb')!r}{nearest(str(values.get('verb')), VERBS)}")
        known = [name for name in inspect.signature(getattr(lidistill, values["verb"])).parameters if name not in OURS]
        known.append("set")
        options = {key: value for key, value in values.items() if key not in cls.model_fields}
        for key in (*options, *values.get("without_parent", {})):
            if key not in known:
                keys = [*known, *(key for key in cls.model_fields if key not in ("verb", "options"))]
                raise ValueError(f"{values['verb']} has no option {key!r}{nearest(key, keys)}")
        return {key: value for key, value in values.items() if key in cls.model_fields} | {"options": options}


class Line(_Part):
    """A row: how the backbone came about; ``steps`` come before those of the column."""

    name: str
    paper: str | None = None
    """The row of the paper beside it."""
    steps: tuple[Step, ...] = ()
    student: str | None = None
    """Of the steps that start from random weights."""
    set: tuple[str, ...] = ()
    """Overrides of the recipes of those steps, after their own."""
    columns: tuple[str, ...] | None = None
    """Those it has a figure in; None = all."""
    data: dict[str, str] = Field(default_factory=dict)
    """Names by which the columns' steps call data of the table in this row, such as ``source`` and ``target``."""
    setting: str | None = None
    """A setting of adaptation by name: its data are the ``source`` and the ``target`` of the columns' steps, its class
    lists those in which they are read and compared.
    """
    recipes: str = ""
    """Put before the names of the columns' recipes: ``scalr-plus-`` takes those published with ScaLR+."""
    mean: str | None = None
    """The row below all others that is the mean of this one and of those that name it too."""
    open: str | None = None
    """Why this row cannot be made yet."""

    def adapted(self, step: Step) -> Step:
        """A column's step with the recipe of this row and the class lists of its setting."""
        options = dict(step.options)
        if "recipe" in options and self.recipes:
            options["recipe"] = self.recipes + options["recipe"]
        if self.setting is not None:
            options |= _class_lists(load_setting(self.setting), step)
        return step.model_copy(update={"options": options})


def _class_lists(setting: Setting, step: Step) -> dict[str, Any]:
    """Options of a step on the data of a setting; what learns the labels of the target learns the classes compared."""
    common = {} if setting.compared is None else {"map": setting.compared}
    match step.verb, step.data:
        case "evaluate", _:
            return common
        case "adapt", _:
            return {"classes": setting.learned, **common}
        case "probe" | "finetune", ("source",):
            return {"classes": setting.learned}
        case "probe" | "finetune", ("target",):
            return {"classes": setting.compared or setting.learned}
    return {}


class Column(_Part):
    """A column: where and how the backbone is measured."""

    name: str
    paper: str | None = None
    data: str | None = None
    steps: tuple[Step, ...]
    metric: str = "miou"


class Scale(_Part):
    """A table at one scale."""

    seeds: tuple[int, ...] = (0,)
    says: str = ""
    """What stands in for what."""
    baseline: str | None = None
    """The row whose errors mCE counts in, where the cards bring no mCE of their own."""
    data: dict[str, City | str]
    """Name -> a city, or a source with ``{data}`` for the folder of data sets."""
    rows: tuple[Line, ...]
    columns: tuple[Column, ...]

    @model_validator(mode="after")
    def _known(self) -> Scale:
        for row in self.rows:
            columns = [column for column in self.columns if row.columns is None or column.name in row.columns]
            for column in columns:
                if column.data is not None:
                    self.known(row, column.data)
            for step in (*row.steps, *(step for column in columns for step in column.steps)):
                for name in (*step.data, *([step.options["released"]] if "released" in step.options else [])):
                    self.known(row, name)
                if step.verb == "adapt" and len(step.data) != 2:
                    raise ValueError(
                        f"row {row.name!r}: a step of adapt needs `data: [source, target]`, names of the table's data "
                        f"or of its row's (`data: {{source: ..., target: ...}}`); found {list(step.data)}"
                    )
        if self.baseline is not None and self.baseline not in {row.name for row in self.rows}:
            raise ValueError(f"there is no row {self.baseline!r} to be the baseline")
        for row in self.rows:
            for name in row.columns or ():
                if name not in {column.name for column in self.columns}:
                    raise ValueError(f"row {row.name!r}: there is no column {name!r}")
        return self

    def known(self, row: Line, name: str) -> tuple[str, City | str]:
        """What a step of ``row`` calls ``name``: the name that it has in all tables, and the data.

        Raises ``ValueError`` where nothing has that name.
        """
        if row.setting is not None and name in ("source", "target"):
            setting = load_setting(row.setting)
            return str(getattr(setting, name)), setting.spec(name)
        called = row.data.get(name, name)
        if called not in self.data:
            hint = nearest(called, self.data if name in row.data else [*self.data, *row.data])
            if name in ("source", "target") and name not in row.data:
                hint = "; say what they are in this row: `data: {source: ..., target: ...}`"
            raise ValueError(f"row {row.name!r}: no data {called!r}{hint}")
        return called, self.data[called]

    def all_data(self) -> dict[str, City | str]:
        """Those of the table, and those of the settings of its rows under their specs."""
        named = [load_setting(row.setting) for row in self.rows if row.setting is not None]
        specs = (setting.spec(part) for setting in named for part in ("source", "target"))
        return {**self.data, **{spec: spec for spec in specs if spec not in self.data.values()}}

    def cells(self) -> Iterator[tuple[Line, Column]]:
        """Row by row, those that can be made."""
        for row in self.rows:
            for column in self.columns:
                if row.open is None and (row.columns is None or column.name in row.columns):
                    yield row, column


class Paper(_Part):
    """The published figures, mIoU in per cent unless the column says otherwise."""

    says: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]

    @model_validator(mode="after")
    def _complete(self) -> Paper:
        for name, row in self.rows.items():
            if len(row) != len(self.columns):
                raise ValueError(f"row {name!r} has {len(row)} figures for {len(self.columns)} columns")
        return self

    def figure(self, row: str | None, column: str | None) -> float | None:
        """The published figure, or None where there is none."""
        if row is None or column is None:
            return None
        return self.rows[row][self.columns.index(column)]


class Table(_Part):
    """A table of the paper, or a comparison of one's own: ``data``, ``rows`` and ``columns`` at the top of the file."""

    title: str
    paper: Paper = Paper(says="", columns=(), rows={})
    """The published figures."""
    city: Scale
    """On this machine; of one's own tables all there is."""
    paper_scale: Scale | None = None
    """With the real data sets and sizes."""

    @model_validator(mode="before")
    @classmethod
    def _own(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "rows" not in values:
            return values
        of_scale = {key: value for key, value in values.items() if key in Scale.model_fields}
        return {key: value for key, value in values.items() if key not in of_scale} | {"city": of_scale}

    @model_validator(mode="after")
    def _named(self) -> Table:
        for scale in (self.city, *([self.paper_scale] if self.paper_scale else [])):
            for row in scale.rows:
                if row.paper is not None and row.paper not in self.paper.rows:
                    raise ValueError(f"row {row.name!r}: the paper has no row {row.paper!r}")
            for column in scale.columns:
                if column.paper is not None and column.paper not in self.paper.columns:
                    raise ValueError(f"column {column.name!r}: the paper has no column {column.paper!r}")
        return self

    def at(self, scale: str) -> Scale:
        """The table at ``scale`` (city or paper)."""
        if scale == "city":
            return self.city
        if self.paper_scale is None:
            raise InputError(f"{self.title!r} is no table of the paper, so it has no --scale {scale}; leave it out")
        return self.paper_scale


def table_names() -> list[str]:
    """``table1`` ... as far as they are there."""
    return sorted(entry.name.removesuffix(".yaml") for entry in FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load_table(name: str) -> Table:
    """Read a built-in table by name or any ``.yaml`` file by path; raises ``InputError`` in one sentence."""
    if not name.endswith((".yaml", ".yml")):
        if name not in table_names():
            raise InputError(f"there is no {name!r}{nearest(name, table_names())}; tables: {', '.join(table_names())}")
        return parse_table(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")), name)
    if not Path(name).is_file():
        raise InputError(f"{name}: there is no such file; built-in tables: {', '.join(table_names())}")
    try:
        values = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{name}: no readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{name}: holds no table; it needs title, data, rows and columns")
    return parse_table(values, name)


def parse_table(values: Mapping[str, Any], name: str) -> Table:
    """Validate a table's values; ``name`` is used in the messages only."""
    try:
        return Table.model_validate(values)
    except ValidationError as error:
        # a key that is misspelt is the reason why another one is missing
        faults = error.errors()
        first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
        # one's own file has the parts of a scale at its top
        loc = first["loc"][1:] if "city" not in values and first["loc"][:1] == ("city",) else first["loc"]
        said = first["msg"].removeprefix("Value error, ")
        match first["type"]:
            case "tuple_type":
                said = f"expected a list, such as [{first['input']}]"
            case "dict_type" | "model_type":
                said = f"expected keys with values, found {first['input']!r}"
            case "literal_error":
                said = f"expected {first['ctx']['expected']}, found {first['input']!r}"
            case "extra_forbidden":
                keys = (key for part in (Table, Scale, Line, Column, Step) for key in part.model_fields)
                said = f"there is no such key here{nearest(str(loc[-1]), keys)}"
            case "missing":
                said = "is missing"
        raise InputError(": ".join([name, *([".".join(map(str, loc))] if loc else []), said])) from None
