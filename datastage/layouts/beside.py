"""A table beside the pictures: which column names them, and which holds their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.columns import Table, from_json, open_table
from datastage.layouts.label_column import (
    Choice,
    choose,
    column_of,
    column_of_all,
    measures,
    parts_of,
    refuse_commas,
    task_of,
    unread_parts,
)
from datastage.layouts.labels import classes_and_labels, without_label
from datastage.layouts.reading import Label, Reading, Split, ordered
from datastage.layouts.shape import SAY_WHICH, Shape, key
from datastage.layouts.tree import Tree
from datastage.progress import some

_LISTS = frozenset((".txt", ".lst", ".list", ".dat"))
_MOST_LISTS = 60
_LOOKED_AT = 200
_MOST_JSON = 1 << 26
_PICTURE_COLUMNS = words.listed(
    "imageid id image imagename img imgname file fname filename filepath filepaths path name idcode imageindex "
    "imagepath picture photo images imageurl isicid"
)


def tables_of(tree: Tree) -> list[Table]:
    """Return the text tables of a tree, also lists in text files and names in JSON, each looked at by its head."""
    found = []
    for path, folder in tree.folders.items():
        kinds = Counter(map(words.suffix_of, folder.others))
        few_lists = sum(kinds[one] for one in _LISTS) <= _MOST_LISTS
        for name in sorted(folder.others):
            suffix, full = words.suffix_of(name), tree.path_of(path, name)
            table = None
            is_list = suffix in _LISTS and few_lists and words.words_of(name)[:1] not in (("readme",), ("license",))
            if is_list or suffix in words.TABLES | {".jsonl", ".ndjson"}:
                table = open_table(tree, full)
            elif suffix == ".json" and kinds[suffix] <= 8 and tree.size(full) <= _MOST_JSON:
                table = from_json(tree, full)
            if table is not None:
                found.append(table)
    return found


class Index:
    """Pictures by their names, to find those that a table means; a mapping says of each its part too."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.parts: Mapping[str, str] = paths if isinstance(paths, Mapping) else {}
        self._apart = len(set(self.parts.values())) > 1
        self._again: set[str] | None = None
        self._names: dict[str, str | list[str]] = {}
        self._stems: dict[str, str | list[str]] = {}
        self.n = 0
        for path in paths:
            self.n += 1
            name = path[path.rfind("/") + 1 :]
            dot = name.rfind(".")
            for known, one in ((self._names, name), (self._stems, name[:dot] if dot > 0 else name)):
                seen = known.setdefault(one, path)
                if seen is not path:
                    known[one] = [*seen, path] if isinstance(seen, list) else [seen, path]

    def find(self, value: str, table: Table | None) -> str | None:
        """Return the one picture that a cell means, with or without folder and suffix; None if none or several do.

        A name that lies in several parts means the part that the table is of: a test.csv that to test on.
        """
        value = value.replace("\\", "/").strip("/ ").removeprefix("./")
        if not value:
            return None
        name = value[value.rfind("/") + 1 :]
        found = self._names.get(name) or self._stems.get(name)
        if found is None:
            dot = name.rfind(".")
            found = self._stems.get(name[:dot]) if dot > 0 and words.suffix_of(name) in words.PICTURES else None
        if found is None:
            return None
        dot = value.rfind(".")
        plain = value[:dot] if words.suffix_of(value) in words.PICTURES else value
        if isinstance(found, str):
            return found if self._is_meant(found, plain, table) else None
        fit = [one for one in found if f"/{one[: one.rfind('.')]}".endswith(f"/{plain}")]
        if len(fit) > 1 and table is not None and table.folder:
            fit = [one for one in fit if one.startswith(table.folder + "/")] or fit
        if len(fit) > 1 and table is not None and self.parts:
            fit = [one for one in fit if self.parts[one] in _wanted(table)]
        return fit[0] if len(fit) == 1 else None

    def _is_meant(self, path: str, plain: str, table: Table | None) -> bool:
        """Whether a cell means the only picture of its name: that of train may be lost, and this one of test."""
        part, folder = self.parts.get(path, ""), plain.rpartition("/")[0]
        if not self._apart or (not folder and part in _wanted(table)):
            return True
        if folder:
            here, there = f"/{path[: path.rfind('.')]}", f"/{plain}"
            if here.endswith(there) or (here.count("/") > 1 and there.endswith(here)):
                return True
            said = {words.split_of(above) for above in folder.split("/")} - {None}
            if said:
                return part in said or (part == "predict" and "test" in said) or (part == "test" and "predict" in said)
        if self._again is None:
            self._again = self._begin_again()
        never = table is not None and table.part == "train" and part in ("test", "predict")
        return part in _wanted(table) or not (never or part in self._again)

    def _begin_again(self) -> set[str]:
        """Return the parts whose names are mostly those of another part too: such a name alone tells no part."""
        sizes, twice = Counter(self.parts.values()), Counter[str]()
        for paths in self._stems.values():
            of = [self.parts[path] for path in paths] if isinstance(paths, list) else []
            twice.update(of if len(set(of)) > 1 else ())
        return {part for part, n in sizes.items() if 2 * twice[part] >= n}


def _wanted(table: Table | None) -> tuple[str, ...]:
    """Return the parts that a table is of."""
    of = table.part if table is not None and table.part else "train"
    return ("test", "predict") if of in ("test", "predict") or (table is not None and table.is_submission) else (of,)


@dataclass(slots=True)
class Fit:
    """A table that names pictures: the column that does, what its other columns are, and some of the pictures."""

    table: Table
    column: str
    choice: Choice
    pictures: frozenset[str] = frozenset()

    def rows(self, index: Index, names: Sequence[str] = ()) -> Iterator[tuple[str | None, tuple[str, ...]]]:
        """Give of each row the picture that it means, if it is one, and its values in these columns."""
        cells, *columns = self.table.columns(self.column, *names)
        for cell, *values in zip(cells, *columns, strict=True):
            yield index.find(cell, self.table), tuple(values)

    def parted(
        self, index: Index, names: Sequence[str], alone: bool, has_parts: bool
    ) -> Iterator[tuple[str | None, tuple[str, ...], str | None]]:
        """Give rows, and the part that a column, or else the table's name, says; empty for one that it does not name.

        Where folders are parts they count, but for what is to predict.
        """
        part, own = self.choice.part, None if alone or has_parts else self.table.part
        says = parts_of(part, self.table.columns(part)[0]) if part else {}
        if has_parts:
            says = {value: one for value, one in says.items() if one == "predict"}
        for path, values in self.rows(index, [*names, *([part] if part and says else [])]):
            said = says.get(values[-1], None if has_parts else "") if says else own
            yield path, values[: len(names)], said


def fits_of(tables: Sequence[Table], index: Index) -> list[Fit]:
    """Return the tables that name pictures, with the column that does."""
    found: list[tuple[Table, str, list[str]]] = []
    for table in tables:
        scores: dict[str, float] = {}
        for name in table.header:
            values = [value for value in table.sample(name)[:_LOOKED_AT] if value]
            if values and len(set(values)) * 4 >= len(values):
                scores[name] = sum(index.find(value, table) is not None for value in values) / len(values)
        best = max(scores.values(), default=0.0)
        if best >= 0.5:
            good = [name for name in table.header if scores.get(name, 0) >= 0.9 * best]
            different = {name: len(set(table.sample(name))) for name in good}  # labels may be numbers, as names are
            good = [name for name in good if different[name] >= 0.9 * max(different.values())]
            named = [name for name in good if key(name).replace("_", "").replace(" ", "") in _PICTURE_COLUMNS]
            found.append((table, (named or good)[0], good))
    submission = next((table for table in [*(table for table, _, _ in found), *tables] if table.is_submission), None)
    of_test = [table for table in tables if table.part == "test" and not table.is_submission]
    fits = []
    for table, column, ids in found:
        lacking = of_test if table.part == "train" else []
        seen = frozenset(path for cell in table.sample(column) if (path := index.find(cell, table)) is not None)
        fits.append(Fit(table, column, choose(table, ids, lacking, submission), seen))
    return fits


def read(tree: Tree, shape: Shape, tables: Sequence[Table]) -> Reading | None:
    """Take each picture's label from the table that names it; None if no table does.

    `SpecError` if several columns or tables could hold the labels, or what they hold is no class and no number.
    """
    index = Index(shape.paths())
    every = fits_of(tables, index)
    fits = [fit for fit in every if not fit.table.is_submission]
    fits = [fit for fit in fits if fit.choice.label or fit.choice.task or fit.choice.candidates]
    told = [fit for fit in fits if fit.choice.label and fit.choice.task in ("classification", "regression", "one-hot")]
    of_train = [fit for fit in fits if any(index.parts[path] == "train" for path in fit.pictures)]
    told.sort(key=lambda fit: fit not in of_train)
    if not told or (told[0] not in of_train and "train" in shape.parts):
        for fit in of_train:
            for name in fit.choice.label:
                refuse_commas(column_of(fit.table, name))
        if of_train:
            raise not_told(tree, of_train)
        return None
    first = told[0]
    same = [fit for fit in told if fit.choice.label == first.choice.label]
    rival = next((fit for fit in told if fit not in same), None)
    if rival is None and sum(column.kind == "float" for column in first.choice.candidates) >= 4:
        raise _measured(tree, first)
    if rival is not None and not _agree(first, rival, index):
        raise _two(tree, first, rival)
    return labelled(tree, shape, same, index, rest=[fit for fit in every if fit not in same])


def labelled(tree: Tree, shape: Shape, fits: Sequence[Fit], index: Index, rest: Sequence[Fit] = ()) -> Reading:
    """Make the reading of tables that name pictures and hold their labels."""
    rows: dict[str, Any] = {}
    source: dict[str, Table] = {}
    parts: dict[str, str] = dict(index.parts)
    why: dict[str, str] = {}
    lost = many = again = 0
    for fit in fits:
        label = fit.choice.label
        for path, values, said in fit.parted(index, label, len(fits) == 1, shape.has_parts):
            value = values[0] if len(label) == 1 else values
            if path is None:
                lost += 1
                continue
            if path in rows and rows[path] != value:
                if source[path] is not fit.table:
                    raise _lists(tree, [source[path], *(one.table for one in fits if one.table is not source[path])])
                many += 1
            again += path in rows
            rows[path], source[path] = value, fit.table
            if said == "":
                why[path] = of_no_part(fit)
            if parts[path] != "predict":
                parts[path] = said or parts[path]
    if many or (again and measures(fits[0].table) >= 4):
        raise SpecError(
            f"{fits[0].table.name} has several rows for one picture, {many:,} of them with another "
            f"{fits[0].choice.label[0]}: they describe what is in a picture (boxes, captions), and are no classes.",
            *FEED,
        )
    choice, first = fits[0].choice, fits[0].table
    why |= dict.fromkeys((path for path, value in rows.items() if value == ""), f"have an empty label in {first.last}")
    if choice.task == "one-hot":
        rows = {path: _hot(first, choice.label, value) for path, value in rows.items()}
    task = "classification" if choice.task == "one-hot" else choice.task
    told = {path: value for path, value in rows.items() if path not in why}
    classes, labels, task, parts = told_of(shape, told, task, parts, label[0])
    named = {path for fit in rest for path, _ in fit.rows(index) if path}
    what = f'column "{choice.label[0]}"' if len(choice.label) == 1 else f"columns {some(choice.label)}"
    tops = sorted({path.rpartition("/")[0] for path in labels} - {""})
    reading = Reading(
        "a table beside pictures", task, "pictures", tuple(classes), {},
        f"{what} of {some([fit.table.name for fit in fits])}",
        f'column "{fits[0].column}"{", in " + some(tops) if tops else ""}: {len(rows):,} of '
        f"{len(rows) + lost:,} are there",
        (f"{lost:,} rows whose picture is not there, or whose name fits several",) if lost else (),
        parted_by(fits, shape),
    )  # fmt: skip
    return filled(reading, shape, parts, labels, named, f"have no row in {first.last}", why)


def parted_by(fits: Sequence[Fit], shape: Shape) -> tuple[str, ...]:
    """Say which columns told the parts, and which seem to and do not."""
    said: list[str] = []
    for table, choice in [(fit.table, fit.choice) for fit in fits if not shape.has_parts]:
        said += [f'Parts     as column "{choice.part}" of {table.last} says'] if choice.part else []
        said += unread_parts(table.last, table.header, table.whole, choice.part, choice.label)
    return tuple(said)


def of_no_part(fit: Fit) -> str:
    """Say why a picture is left out whose row is of no part that the column of parts names."""
    return f'are of no part that "{fit.choice.part}" of {fit.table.last} names'


def told_of(
    shape: Shape, values: Mapping[str, Any], task: str, parts: Mapping[str, str], name: str = ""
) -> tuple[list[str], dict[str, Label], str, dict[str, str]]:
    """Return the classes, labels, task and parts of pictures: what stands for no label, as -1 of test, is none.

    What is to predict has none either. `name` is the column that `values` are of.
    """
    n, values = len(values), {path: value for path, value in values.items() if parts[path] != "predict"}
    own = dict(parts)
    trained = [value for path, value in values.items() if own[path] == "train"] if name else []
    measured = task == "regression" or (trained and task_of(column_of_all(name, trained)) == "regression")
    is_one = task in ("classification", "regression")
    gone = without_label(values, own, bool(measured)) if is_one else set()
    task = "regression" if is_one and measured and (gone or len(values) < n) else task
    lost = {path for path in values.keys() - gone if own[path] in shape.unwanted}
    told = {path: value for path, value in values.items() if path not in gone | lost}
    own = {path: part for path, part in own.items() if path not in lost}
    return *classes_and_labels(told, task), task, own


def _hot(table: Table, names: Sequence[str], values: Sequence[str]) -> str:
    """Return the column that holds the one 1 of a row."""
    ones = [name for name, value in zip(names, values) if float(value or 0) == 1]
    if len(ones) != 1:
        raise SpecError(
            f"{table.name}: a row has {len(ones)} ones in {some(names)}: several labels a picture (multi-label).",
            f"{SAY_WHICH} datastage.loaders(path, labels={list(names[:2])}, batch_size=64), the columns by name",
        )
    return ones[0]


def filled(
    reading: Reading, shape: Shape, parts: Mapping[str, str], labels: Mapping[str, Label],
    named: Collection[str] = (), unnamed: str = "have no label",
    why: Mapping[str, str] = MappingProxyType({}),
) -> Reading:  # fmt: skip
    """Put the labels of pictures into their parts; what has none is to predict, or left out of train.

    `why` says of pictures why they have none, where that is more than `unnamed`.
    """
    found: dict[str, list[str]] = {}
    without = Counter[str]()
    for path, part in parts.items():
        if path in labels:
            found.setdefault(part, []).append(path)
        elif part == "train" and path not in named:
            without[why.get(path, unnamed)] += 1
        else:
            found.setdefault("predict", []).append(path)
    if "train" not in found and len(found.keys() - {"predict"}) == 1:
        found["train"] = found.pop(next(part for part in found if part != "predict"))
    if "train" not in found:
        raise SpecError(
            f"No picture of the part to learn from has a label ({reading.rule}); {len(labels):,} others have.",
            "Next: look into the table, or name the parts: val=, test=.",
        )
    splits = {}
    for part, paths in found.items():
        paths.sort()
        own_labels = None if part == "predict" else [labels[path] for path in paths]
        seen = some(shape.named(part)) if part != "predict" else ""
        splits[part] = Split(paths, own_labels, len(paths), seen)
    left_out = (*shape.left_out, *(f"{n:,} pictures that {reason}" for reason, n in without.items()), *reading.left_out)
    return replace(reading, splits=ordered(splits), left_out=left_out)


FEED = (
    "Next: these lines feed them, whatever they are; what a sample is you say in the third:",
    "import datastage, pathlib",
    "files = sorted(pathlib.Path(path).rglob('*.*')) or [pathlib.Path(path)]",
    "def sample(file): return float(file.stat().st_size), 0  # numbers, and a label",
    "class Mine:",
    "    def __len__(self): return len(files)",
    "    def __getitem__(self, i): return sample(files[i])",
    "loader = datastage.feed(Mine(), batch_size=64)",
)


def _agree(one: Fit, two: Fit, index: Index) -> bool:
    """Whether two tables part the pictures alike."""
    first, second = (dict(fit.rows(index, fit.choice.label)) for fit in (one, two))
    pairs = {(first[path], second[path]) for path in first.keys() & second.keys() - {None}}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _measured(tree: Tree, fit: Fit) -> SpecError:
    """Ask whether a table with many decimals of each picture is meant itself, without the pictures."""
    name, label = fit.table.name, fit.choice.label[0]
    return SpecError(
        f"{tree.where} holds pictures and, in {name}, many numbers measured of each; the label seems to be "
        f'"{label}" in both. The pictures or the table: which is meant?',
        f'{SAY_WHICH} the pictures: datastage.loaders(path, labels="{name}:{label}", batch_size=64)',
        f"the table: datastage.loaders(path / {name!r}, batch_size=64)",
    )


def _two(tree: Tree, *fits: Fit) -> SpecError:
    (one, first), (two, second) = ((fit.table.name, fit.choice.label[0]) for fit in fits)
    return SpecError(
        f"Two tables beside the pictures in {tree.where} hold labels, and not the same: {one} ({first}) and {two} "
        f"({second}).",
        f'{SAY_WHICH} datastage.loaders(path, labels="{one}:{first}", batch_size=64), or labels="{two}:{second}"',
    )


def _lists(tree: Tree, tables: Sequence[Table]) -> SpecError:
    first = sorted(tables, key=lambda table: table.part != "train")
    return SpecError(
        f"The lists beside the pictures in {tree.where} give them other labels: {some([t.name for t in first], 8)}.",
        f'{SAY_WHICH} datastage.loaders(path, labels="{tables[0].name}:{tables[0].header[-1]}", batch_size=64)',
    )


def not_told(tree: Tree, fits: Sequence[Fit]) -> SpecError:
    """Say which columns of which tables could be the labels."""
    lines = []
    for fit in fits[:4]:
        choice, table = fit.choice, fit.table
        where = f'{table.name} (its column "{fit.column}" names the pictures)'
        if choice.task == "multi-label" and choice.label:
            lines.append(f"{where} holds several labels a picture (multi-label): {some(list(choice.label), 8)}")
        elif choice.task and choice.label:
            lines.append(f'{where}: column "{choice.label[0]}" is for {choice.task}, and holds no classes')
        elif choice.candidates:
            lines.append(f"{where} has {', '.join(map(str, choice.candidates[:8]))}")
        else:
            lines.append(where)
    first = next((fit for fit in fits if fit.choice.label), fits[0])
    names = list(first.choice.label) or [column.name for column in first.choice.candidates] or ["label"]
    column = f":{names[0]}" if len(first.choice.label) < 2 else ""
    feeds = first.choice.task in ("captioning", "detection", "segmentation")
    line = f'{SAY_WHICH} datastage.loaders(path, labels="{first.table.name}{column}", batch_size=64)'
    return SpecError(
        f"Which labels the pictures in {tree.where} have, only you know:", *lines, *(FEED if feeds else (line,))
    )
