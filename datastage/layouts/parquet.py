"""Parquet files: columns of numbers as rows; pictures that lie in a column, as the Hugging Face Hub keeps them."""

from __future__ import annotations

import functools
import json
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastage import runtime
from datastage.entry import one_of
from datastage.errors import IntegrityError, SpecError, needing
from datastage.layouts import words
from datastage.layouts.arrays import LABELS, LOOK, checked
from datastage.layouts.label_column import is_of_parts, part_of, rows_by_part, together, unread_parts
from datastage.layouts.labels import as_name, stand_ins
from datastage.layouts.reading import Reading, Split, ordered
from datastage.layouts.shape import SAY_WHICH
from datastage.progress import some

_CLASS_NAMES = re.compile(
    r"- name: (?P<column>\S+)\n\s+dtype:\n\s+class_label:\n\s+names:\n(?P<names>(?:\s+'?\d+'?: .*\n)+)"
)
_MOST_README_BYTES = 1 << 20


@dataclass(slots=True)
class _Set:
    """Parquet files of one table, by part, and what is known of its columns."""

    root: Path
    parts: dict[str, list[Path]]
    schema: Any
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of the classes, by column
    left_out: list[str] = field(default_factory=list)
    unwanted: Collection[str] = ()
    said: list[str] = field(default_factory=list)
    by_column: str = ""  # that says of each row which part it is of
    own_rows: dict[str, list[int]] = field(default_factory=dict)  # of each part, by that column

    @property
    def first(self) -> Path:
        return next(iter(self.parts.values()))[0]

    def column(self, part: str, name: str) -> list[Any]:
        """Return a column of a part; None for each row of a file that lacks it."""
        import pyarrow.parquet as pq

        values: list[Any] = []
        for path in self.parts[part]:
            file = pq.ParquetFile(path)
            has = name in file.schema_arrow.names
            values += file.read([name]).column(0).to_pylist() if has else [None] * file.metadata.num_rows
        return [values[at] for at in self.own_rows[part]] if part in self.own_rows else values

    def part_by_column(self, label: str) -> None:
        """Part the rows by a column that says the part of each, where the files are of one part."""
        if len(self.parts) > 1:
            return

        @functools.cache
        def cells(name: str) -> list[str]:
            called = dict(enumerate(self.names.get(name, ())))
            return ["" if one is None else called.get(one, as_name(one)) for one in self.column("train", name)]

        ends, names = self._ends(), [one.name for one in self.schema if one.name != label and _is_simple(one.type)]
        part = part_of(names, lambda name: ends.get(name, ()), lambda *able: map(cells, able), (label,))
        self.said += unread_parts(self.first.name, names, cells, part, (label,))
        if part and (rows := rows_by_part(part, together(names, cells, part) or ())):
            self.said.append(f'Parts     as column "{part}" of {self.first.name} says')
            self.by_column, self.own_rows = part, rows
            self.parts = {one: self.parts["train"] for one in ("train", "val", "test", "predict") if one in rows}
            if lost := len(cells(part)) - sum(map(len, rows.values())):
                self.left_out.append(f'{lost:,} rows of no part that "{part}" names')

    def _ends(self) -> dict[str, tuple[str, ...]]:
        """Return the first and the last text of columns, as the file says of its first rows; of classes their names."""
        import pyarrow.parquet as pq

        meta = pq.read_metadata(self.first)
        columns = [meta.row_group(0).column(at) for at in range(meta.num_columns)] if meta.num_row_groups else []
        known = {one.path_in_schema: one.statistics for one in columns if one.statistics and one.statistics.has_min_max}
        texts = {name: (one.min, one.max) for name, one in known.items() if isinstance(one.min, str)}
        return texts | self.names

    def places(self, part: str, rows: Sequence[int]) -> Sequence[int]:
        """Return where in its files these rows of a part lie."""
        return [self.own_rows[part][at] for at in rows] if part in self.own_rows else rows

    def known(self, labels: Mapping[str, Sequence[Any]], classes: Sequence[str]) -> dict[str, tuple[str, list[int]]]:
        """Return where each part lies and which of its rows have a label; a part without any is to predict."""
        found: dict[str, tuple[str, list[int]]] = {}
        without: dict[str, list[int]] = {}
        for part, values in labels.items():
            told = [value is not None and value == value and not (classes and value < 0) for value in values]
            rows = [at for at, has in enumerate(told) if has and (not classes or values[at] < len(classes))]
            lacks = [at for at, has in enumerate(told) if not (has and rows)]
            if rows and part == "train":
                lacks = []
            if len(rows) + len(lacks) < len(values):
                n = len(values) - len(rows) - len(lacks)
                self.left_out.append(f"{n:,} rows of {part} whose label is not known")
            without |= {part: lacks} if lacks else {}
            found |= {part: (part, rows)} if rows or not values else {}
        if self.by_column and without:
            every = sorted(at for part, rows in without.items() for at in self.places(part, rows))
            self.own_rows["predict"], self.parts["predict"] = every, self.parts["train"]
            found["predict"] = "predict", list(range(len(every)))
        elif without:
            *before, last = without
            self.left_out += [f"{len(without[part]):,} rows of {part} without labels" for part in before]
            found["predict"] = last, without[last]
        return found


def read(paths: Sequence[Path], root: Path, asked: str | None, unwanted: Collection[str] = ()) -> Reading:
    """Read parquet files below `root`: pictures with their labels, or rows of numbers.

    `SpecError` if several columns may be the label, or the files are several sets.
    """
    with needing(paths[0].name, "pyarrow"):
        import pyarrow
        import pyarrow.parquet as pq
    parts, left_out = _parts(paths, root)
    first = next(iter(parts.values()))[0]
    try:
        found = _Set(root, parts, pq.read_schema(first), left_out=left_out, unwanted=unwanted)
        found.names = _class_names(found)
        pictures = picture_column(found.schema)
        label = _label(found, None if asked is None else asked.rpartition(":")[2], pictures)
        found.part_by_column(label)
        return _of_rows(found, label) if pictures is None else _of_pictures(found, label)
    except (OSError, pyarrow.ArrowException) as error:
        raise IntegrityError(f"{first.name} is not a whole parquet file: {error}.", LOOK) from None


def _parts(paths: Sequence[Path], root: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Sort files by part: ``data/train-00000-of-00002.parquet``, ``default/train/0000.parquet``; one set alone."""
    parts: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(paths):
        folders = list(path.relative_to(root).parent.parts)
        part = words.split_of(path.stem.partition("-")[0]) or words.split_of(path.stem)
        if part is None and folders and (part := words.split_of(folders[-1])) is not None:
            folders.pop()
        kind = "/".join(one for one in folders if one != "data")
        parts.setdefault(kind, {}).setdefault(part or "", []).append(path)
    if len(parts) > 1:
        told = some([kind or "files right there" for kind in parts], 8)
        one = next(kind for kind in parts if kind)
        raise SpecError(
            f"{root} holds several sets of parquet files: {told}; which is meant, only you know.",
            f"{SAY_WHICH} datastage.loaders(path / {one!r}, batch_size=64); or stage that folder alone: hf:.../{one}",
        )
    (found,) = parts.values()
    free = found.pop("", [])
    if not found:
        return {"train": free}, []
    if "train" not in found:
        found = {"train": free or found.pop(next(iter(found))), **found}
        free = []
    said = [f"{some([path.name for path in free])}, which no part's name begins"] if free else []
    return {part: found[part] for part in ("train", "val", "test", "predict") if part in found}, said


def _is_simple(kind: Any) -> bool:
    """Whether a column has texts, numbers or truths, or names for them: no lists and no structs."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
    return any(test(kind) for test in tests)


def picture_column(schema: Any) -> str | None:
    """Return the column that holds pictures: a struct of bytes and a path, or bytes alone; None if none does."""
    import pyarrow as pa

    def has_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            kind = next((kind.field(at).type for at in range(kind.num_fields) if kind.field(at).name == "bytes"), None)
        return kind is not None and bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    return next((name for name in schema.names if has_bytes(schema.field(name).type)), None)


def _class_names(found: _Set) -> dict[str, tuple[str, ...]]:
    """Return the names of classes: from the file's own features, else from those in the README beside it."""
    try:
        features = json.loads((found.schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: tuple(one["names"]) for name, one in features.items() if one.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        pass
    try:
        with open(found.root / "README.md", encoding="utf-8") as file:
            text = file.read(_MOST_README_BYTES)
    except (OSError, UnicodeError):
        return {}
    names = {}
    for match in _CLASS_NAMES.finditer(text):
        rows = [row.partition(": ")[2].strip().strip("'\"") for row in match["names"].splitlines() if row.strip()]
        names[match["column"]] = tuple(rows)
    return names


def _label(found: _Set, asked: str | None, pictures: str | None) -> str:
    columns = list(found.schema.names)
    if asked is not None:
        if asked not in columns:
            raise SpecError(
                f"{found.first.name} has no column {asked!r}.", f"Next: one of {some(columns, 12)}: labels=..."
            )
        return asked
    if pictures is not None:
        known = list(found.names) or [name for name in columns if name.lower() in LABELS]
        if len(known) == 1 and known[0] in columns:
            return known[0]
    able = [*found.names, *(name for name in reversed(columns) if name != pictures), *columns]
    every = [path.name for part in found.parts.values() for path in part]
    raise SpecError(
        f"{some(every)} (parquet) {'holds' if len(every) == 1 else 'hold'} a table"
        f" with the columns {some(columns, 8)}; which column is the label, only you know.",
        f'{SAY_WHICH} datastage.loaders(path, labels="{able[0]}", batch_size=64), by the name of the column',
        "or open it with pandas.read_parquet and pass the arrays: datastage.loaders((images, labels), batch_size=64).",
    )


def _numbered(found: _Set, label: str) -> tuple[tuple[str, ...], dict[str, list[Any]]]:
    """Return the names of the classes, and the labels of each part as numbers; -1, unknown to the Hub, stays."""
    values = {part: found.column(part, label) for part in found.parts}
    cells = {part: [one for one in rows if isinstance(one, str | int | float)] for part, rows in values.items()}
    known = set(map(as_name, set(cells["train"]))) if len(cells) > 1 else set()  # of a column of measures they are many
    floats = [one for one in cells["train"] if isinstance(one, float) and one == one]
    measured = bool(floats) and (len(floats) == len(values["train"]) or not all(map(float.is_integer, floats)))
    for part in values.keys() - {"train"}:
        if part == "predict":
            cells[part], values[part] = [], [None] * len(values[part])
        gone = stand_ins(cells[part], known, measured)
        values[part] = [None if isinstance(one, str | int | float) and one in gone else one for one in values[part]]
    if label in found.names or not any(isinstance(value, str) for value in values["train"]):
        return found.names.get(label, ()), values
    classes = tuple(words.by_value({value for value in values["train"] if isinstance(value, str)}))
    number: dict[str | None, int] = {None: -1, **{name: at for at, name in enumerate(classes)}}
    values = {part: rows for part, rows in values.items() if part not in found.unwanted or number.keys() >= set(rows)}
    strange = {value for part in values.values() for value in part} - number.keys()
    if strange:
        raise SpecError(f"{min(map(str, strange))!r} is no class of the training part.", "Next: look into the file.")
    return classes, {part: [number[value] for value in rows] for part, rows in values.items()}


def _of_pictures(found: _Set, label: str) -> Reading:
    """Name each picture by its file and its row; `batches` reads them."""
    import pyarrow.parquet as pq

    classes, labels = _numbered(found, label)
    if not classes:
        told = [value for value in labels["train"] if value is not None]
        if not all(isinstance(value, int) for value in told):
            raise SpecError(f"The column {label!r} holds no classes.", "Next: another column: labels=...")
        order = sorted(set(told))
        classes, number = tuple(map(str, order)), {None: -1, **{value: at for at, value in enumerate(order)}}
        odd = [part for part, rows in labels.items() if -1 in rows and -1 not in number]
        labels = {part: rows for part, rows in labels.items() if part not in odd or part not in found.unwanted}
        if part := next((part for part in odd if part in labels), ""):
            raise SpecError(
                f"-1 is no class of the training part, and {part} has it beside others.",
                f"Next: {part}=0 leaves that part out; or look into the file.",
            )
        labels = {part: [number.get(value, len(order)) for value in rows] for part, rows in labels.items()}
    splits: dict[str, Split] = {}
    for part, (seen, rows) in found.known(labels, classes).items():
        names = [
            f"{path.relative_to(found.root).as_posix()}:{row}"
            for path in found.parts[seen]
            for row in range(pq.read_metadata(path).num_rows)
        ]
        own = None if part == "predict" else [labels[seen][at] for at in rows]
        here = [names[at] for at in found.places(seen, rows)]
        splits[part] = Split(here, own, len(rows), "" if found.by_column else seen)
    return Reading(
        "parquet", "classification", "pictures", classes, ordered(splits), f'column "{label}"',
        left_out=tuple(found.left_out), said=tuple(found.said),
    )  # fmt: skip


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _of_rows(found: _Set, label: str) -> Reading:
    names = _features(found, label)
    classes, labels = _numbered(found, label)
    known = found.known(labels, classes)

    def arrays(split: str) -> tuple[Any, Any]:
        import numpy as np

        part, rows = one_of(known, split)
        at = found.places(part, rows)
        numbers = np.concatenate([_numbers(path, names) for path in found.parts[part]])
        own = at if split == "predict" else [labels[part][at] for at in rows]
        if split != "predict" and len(own) < len(labels[part]) and all(map(_is_whole, own)):
            own = [int(value) for value in own]  # pandas writes whole numbers as decimals where one is missing
        return checked(found.first.name, numbers if len(at) == len(numbers) else numbers[at], np.array(own))

    splits = {}
    for split, (part, rows) in known.items():
        own = None if split == "predict" else [labels[part][at] for at in rows] if classes else ()
        splits[split] = Split((), own, len(rows), "" if found.by_column else part)
    return Reading(
        "parquet", "classification", "arrays", classes, ordered(splits), f'column "{label}"',
        left_out=tuple(found.left_out), said=tuple(found.said), arrays=arrays,
    )  # fmt: skip


def _features(found: _Set, label: str) -> list[str]:
    """Return the columns of numbers that every file has, as the first one names them; say which are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def of_numbers(schema: Any) -> list[str]:
        tests = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
        return [one.name for one in schema if any(test(one.type) for test in tests)]

    index = [name for name in (found.schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)]
    names = [
        name for name in of_numbers(found.schema)
        if name not in (label, *index) and not is_of_parts(name, found.by_column)
        and not re.fullmatch(r"__index_level_\d+__", name)
    ]  # fmt: skip
    if not names:
        raise SpecError(
            "No column of the parquet file holds numbers or pictures.", "Next: pandas.read_parquet, and pass arrays."
        )
    if rest := [name for name in found.schema.names if name not in (label, found.by_column, *names)]:
        found.left_out.append(f"the columns {some(rest)}: they hold no numbers, or number the rows")
    for path in (path for paths in found.parts.values() for path in paths):
        if missing := [name for name in names if name not in of_numbers(pq.read_schema(path))]:
            one = found.first.relative_to(found.root).as_posix()
            raise SpecError(
                f"{path.name} has no column of numbers {missing[0]!r}, which {found.first.name} has.",
                f'Next: to learn from one file: datastage.loaders(path / {one!r}, labels="{label}", batch_size=64)',
            )
    return names


def _numbers(path: Path, names: Sequence[str]) -> Any:
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read(list(names))
    if empty := [name for name in names if table.column(name).null_count]:
        raise SpecError(
            f"{path.name}: {some(empty)} {'is' if len(empty) == 1 else 'are'} empty in some rows, which is no number.",
            "Next: fill them, for example with pandas: table.fillna(0), and write the file again.",
        )
    return np.stack([table.column(name).to_numpy().astype(np.float32) for name in names], 1)


class ParquetImages:
    """The pictures in a column of parquet files below `root`, by file and row: ``data/train-0.parquet:17``.

    The groups of rows that were read are kept as they are, the last ones first, within a share of the memory.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._files: dict[str, tuple[Any, str, list[int]]] = {}
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._n_bytes, self._most_bytes = 0, (runtime.current().memory_bytes or 8 << 30) // 4
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    def read(self, name: str) -> bytes:
        """Return the picture of a row, as it was encoded."""
        path, _, row = name.rpartition(":")
        with self._lock:
            group, at = self._group(path, int(row))
        value = group[at].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        return bytes(data or b"")  # a file that names a picture and does not hold it has one that cannot be read

    def _group(self, path: str, row: int) -> tuple[Any, int]:
        if path not in self._files:
            import pyarrow.parquet as pq

            file = pq.ParquetFile(f"{self.root}/{path}", memory_map=True)
            starts = [0]
            for number in range(file.metadata.num_row_groups):
                starts.append(starts[-1] + file.metadata.row_group(number).num_rows)
            self._files[path] = file, picture_column(file.schema_arrow) or "", starts
        file, column, starts = self._files[path]
        number = bisect_right(starts, row) - 1
        key = path, number
        if key not in self._groups:
            self._groups[key] = file.read_row_group(number, columns=[column]).column(0)
            self._n_bytes += self._groups[key].nbytes
            while self._n_bytes > self._most_bytes and len(self._groups) > 1:
                self._n_bytes -= self._groups.popitem(last=False)[1].nbytes
        self._groups.move_to_end(key)
        return self._groups[key], row - starts[number]
