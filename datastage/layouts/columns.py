"""Text tables by their columns: csv, tsv, lists with blanks, lines of JSON; and what the values of a column are."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from datastage.layouts import words
from datastage.layouts.tree import Tree

HEAD_BYTES = 1 << 16
MOST_HEAD_BYTES = 1 << 26
HEAD_ROWS = 400
_FEWEST_LINES = 8
_BLOCK_BYTES = 1 << 22
WHOLE = re.compile(r"[+-]?\d{1,4000}(\.0*)?")  # Python's int takes no more by itself
_LISTS = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)
_WITH_COMMAS = re.compile(r"[+-]?\d+(,\d+)?")
_RUNS = re.compile(r"\d+ \d+( \d+ \d+)*")
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))  # all that `str.strip` takes off
_EMPTY = words.listed("nan NaN NAN null NULL")
_EMPTY_AMONG_NUMBERS = words.listed("NA N/A n/a None <NA> #N/A -nan -NaN inf -inf Inf -Inf Infinity -Infinity")
csv.field_size_limit(1 << 24)


@dataclass(slots=True)
class Table:
    """A text table."""

    tree: Tree
    name: str
    header: tuple[str, ...]
    head: list[list[str]]
    has_header: bool
    separator: str
    encoding: str
    cut: bool
    joined: bool = False
    places: dict[str, int] = field(init=False, repr=False)
    _whole: dict[str, list[str]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.places = {}
        for at, name in enumerate(self.header):
            self.places.setdefault(name, at)

    @property
    def last(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def part(self) -> str | None:
        """The part that it is of, by its name: ``test.csv``."""
        return words.split_of(self.last.rpartition(".")[0])

    @property
    def is_submission(self) -> bool:
        """Whether it is a sample of what a competition wants to get."""
        return "submission" in self.last.lower() or "submit" in self.last.lower()

    def like(self, name: str) -> str | None:
        """Return the column of this name, or the first whose letters and digits are the same."""
        same = (one for one in self.header if words.plain(one) == words.plain(name))
        return name if name in self.header else next(same, None)

    def rows(self) -> Iterator[list[str]]:
        """Give all rows, as texts."""
        if not self.cut:
            yield from self.head
            return
        with self.tree.open(self.name) as file, io.TextIOWrapper(file, self.encoding, "replace", newline="") as text:
            rows = _parted(text, self.separator, self.header, self.joined)
            if self.has_header and self.separator != "json":
                next(rows, None)
            yield from rows

    def blocks(self) -> Iterator[list[str]]:
        """Give the lines that `rows` parts, in blocks; no line ends within a cell, or this is no table of numbers."""
        empty = self.separator + _BLANKS
        with self.tree.open(self.name) as file, io.TextIOWrapper(file, self.encoding, "replace") as text:
            if self.has_header:
                next(filter(lambda line: line.strip(empty), text), None)
            while lines := text.readlines(_BLOCK_BYTES):
                yield [line for line in lines if line.strip(empty)]

    def columns(self, *names: str) -> list[list[str]]:
        """Return whole columns, each read once; equal texts are one object, since classes recur."""
        if new := [name for name in dict.fromkeys(names) if name not in self._whole]:
            found = self._one(self.places[new[0]]) if len(new) == 1 else None
            columns = self._several([self.places[name] for name in new]) if found is None else [found]
            self._whole |= zip(new, map(blanked, columns))
        return [self._whole[name] for name in names]

    def whole(self, name: str) -> list[str]:
        """Return a whole column."""
        return self.columns(name)[0]

    def put(self, name: str, values: Sequence[str]) -> None:
        """Take these values for those of a column."""
        self._whole[name] = list(values)

    def _several(self, at: Sequence[int]) -> list[list[str]]:
        known: dict[str, str] = {}
        found: list[list[str]] = [[] for _ in at]
        for row in self.rows():
            for place, column in zip(at, found):
                value = row[place].strip() if place < len(row) else ""
                column.append(known.setdefault(value, value) if len(known) < 10_000 else value)
        return found

    def _one(self, at: int) -> list[str] | None:
        """Read a column, lines parted no further than need be; None where only the whole row tells it."""
        if not self.cut or self.separator in (" ", "json"):
            return None
        back = len(self.header) - at
        known: dict[str, str] = {}
        found: list[str] = []
        for lines in self.blocks():
            if any('"' in line for line in lines):
                return None
            try:
                if at < back:
                    values = [line.split(self.separator, at + 1)[at].strip() for line in lines]
                elif all(line.count(self.separator) == len(self.header) - 1 for line in lines):
                    values = [line.rsplit(self.separator, back)[-back].strip() for line in lines]
                else:  # from its end another column is counted
                    return None
            except IndexError:  # a row that is too short has an empty cell
                return None
            found += [known.setdefault(value, value) if len(known) < 10_000 else value for value in values]
        return found

    def sample(self, name: str) -> list[str]:
        """Return a column's values in the first rows."""
        at = self.places[name]
        return blanked([row[at].strip() if at < len(row) else "" for row in self.head])


def blanked(values: list[str]) -> list[str]:
    """Return the cells of a column; those that say that nothing is there are empty: nan, null, NA among numbers."""
    different = set(values) - {""}
    gone = different & _EMPTY
    if (more := different & _EMPTY_AMONG_NUMBERS) and different - gone - more:
        gone |= more if all(map(is_number, different - gone - more)) else set()
    return ["" if value in gone else value for value in values] if gone else values


def open_table(tree: Tree, name: str) -> Table | None:
    """Look at the head of a file; None if it is no table."""
    with tree.open(name) as file:
        data, n = file.read(HEAD_BYTES), HEAD_BYTES
        while len(data) == n < MOST_HEAD_BYTES and data.count(b"\n") < _FEWEST_LINES and b"\0" not in data[:HEAD_BYTES]:
            data, n = data + file.read(n), 2 * n
    if n > HEAD_BYTES and data.count(b"\n") < 2:
        return None  # one long line is a text
    cut = len(data) == n
    text, encoding = _decoded(data)
    if text is None:
        return None
    if cut:
        text = text[: text.rfind("\n") + 1] or text
    lines = [line for line in text.splitlines() if line.strip()][:HEAD_ROWS]
    if not lines:
        return None
    if name.endswith((".jsonl", ".ndjson")):
        return _json_lines(tree, name, lines, encoding, cut)
    try:
        separator, joined = _separator(lines)
        rows = list(_parted(io.StringIO(text, newline=""), separator, (), joined))
    except csv.Error:  # a cell that is longer than any of a table
        return None
    if len(rows) > HEAD_ROWS:
        rows, cut = rows[:HEAD_ROWS], True
    if not rows:
        return None
    width = max(Counter(map(len, rows)).items(), key=lambda item: (item[1], item[0]))[0]
    has_header = _has_header(rows)
    header = [cell.strip() for cell in rows.pop(0)] if has_header else [f"column {i + 1}" for i in range(width)]
    header += [""] * (width - len(header))
    names: list[str] = []
    seen: set[str] = set()
    for at, cell in enumerate(header):
        title = cell or f"column {at + 1}"
        names.append(f"{title} ({at + 1})" if title in seen else title)
        seen.add(names[-1])
    return Table(tree, name, tuple(names), rows, has_header, separator, encoding, cut, joined)


def _decoded(data: bytes) -> tuple[str | None, str]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "ignore"), "utf-16"
    if b"\0" in data:
        return None, ""
    try:  # the last letter may be cut in two
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data), "utf-8-sig"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"


def _separator(lines: Sequence[str]) -> tuple[str, bool]:
    """Return what parts the columns, and whether blanks part only the first column from a text with blanks."""
    best, score = "", 0.0
    for one in (",", "\t", ";", "|"):
        widths = Counter(len(row) for row in csv.reader(lines[:60], delimiter=one))
        width, n = widths.most_common(1)[0]
        if width > 1 and n / sum(widths.values()) > max(score, 0.5):
            best, score = one, n / sum(widths.values())
    if best:
        return best, False
    widths = Counter(len(line.split()) for line in lines[:60])
    width, n = widths.most_common(1)[0]
    if width > 1 and n >= 0.95 * sum(widths.values()):
        return " ", False
    if min(widths) > 1:
        return " ", True
    return ",", False


def _parted(text: io.TextIOBase, separator: str, header: Sequence[str], joined: bool) -> Iterator[list[str]]:
    if separator == "json":
        for line in text:
            if line.strip():
                value = json.loads(line)
                yield [_cell(value.get(name)) for name in header]
    elif separator == " ":
        for line in text:
            if line.strip() and not line.startswith("#"):
                yield line.split(None, 1) if joined else line.split()
    else:
        for row in csv.reader(text, delimiter=separator, skipinitialspace=True):
            if row and any(cell.strip() for cell in row):
                yield row


def _json_lines(tree: Tree, name: str, lines: list[str], encoding: str, cut: bool) -> Table | None:
    try:
        rows = [json.loads(line) for line in lines]
    except ValueError:
        return None
    if not all(isinstance(row, dict) for row in rows):
        return None
    header = tuple(dict.fromkeys(key for row in rows for key in row))
    head = [[_cell(row.get(key)) for key in header] for row in rows]
    return Table(tree, name, header, head, True, "json", encoding, cut or len(lines) == HEAD_ROWS)


def from_json(tree: Tree, name: str) -> Table | None:
    """Take a JSON file for a table: names to labels, or a list of objects; None if it is neither."""
    try:
        with tree.open(name) as file:
            value = json.loads(file.read(1 << 26))
    except (ValueError, RecursionError):
        return None
    plain = (str, int, float, bool, type(None))
    if isinstance(value, dict) and len(value) > 1 and all(isinstance(one, plain) for one in value.values()):
        rows = [[str(key), _cell(label)] for key, label in value.items()]
        return Table(tree, name, ("name", "label"), rows, True, "json", "utf-8", False)
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        header = tuple(dict.fromkeys(key for one in value for key in one if isinstance(one[key], plain[:-1])))
        rows = [[_cell(one.get(key)) for key in header] for one in value]
        return Table(tree, name, header, rows, True, "json", "utf-8", False) if header else None
    return None


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    first, rest = rows[0], rows[1:60]
    if not rest:
        return not any(map(_fits_numbers, first))
    if all(_fits_numbers(cell) or not cell.strip() for cell in first[:-1]) and len(first) > 1:
        return False
    alike = 0
    for at, cell in enumerate(first):
        below = [row[at].strip() for row in rest if at < len(row) and row[at].strip()]
        if not _fits_numbers(cell) and below and all(map(_fits_numbers, below)):
            return True  # words above numbers
        alike += bool(cell.strip()) and (_is_file(cell) or cell.strip() in below)
    return 2 * alike < len(first)


def _fits_numbers(text: str) -> bool:
    return is_number(text) or text.strip() in _EMPTY


def _is_file(text: str) -> bool:
    return "/" in text.strip() or words.suffix_of(text.strip()) in words.PICTURES | words.SOUNDS


def is_number(text: str) -> bool:
    """Whether a text is a number, and a finite one."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def kind_of(values: Sequence[str]) -> str:
    """Say what the values of a column are."""
    given = [value for value in values if value]
    if not given:
        return "empty"
    different = set(given)
    if len(different) == 1 and len(given) > 1:
        return "constant"
    if all(WHOLE.fullmatch(value) for value in different):
        return "int"
    if all(map(is_number, different)):
        return "float"
    if all(_LISTS.fullmatch(value) for value in given[:50]):
        return "boxes"
    counts = {value.count(" ") for value in different}
    if len(counts) > 1 and max(counts) < 40 and all(re.fullmatch(r"\d+( \d+)*", value) for value in different):
        return "tags"
    if all(_RUNS.fullmatch(value) for value in given[:50]):
        even = len({value.count(" ") for value in given[:50]}) == 1
        return "pixels" if even and min(map(len, given[:50])) > 60 else "runs"
    if all(re.fullmatch(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?", value) for value in given[:50]):
        return "date"
    return "commas" if all(map(_WITH_COMMAS.fullmatch, different)) else _words(given, different)


def _words(given: Sequence[str], different: set[str]) -> str:
    short = sum(map(len, different)) / len(different) < 60
    for sign in ("|", ";", ",", " "):
        cells = [frozenset(part.strip() for part in value.split(sign) if part.strip()) for value in different]
        if max(map(len, cells), default=0) > 1 and short and (sign == "|" or _are_tags(cells)):
            return "tags"
    blanks = sum(value.count(" ") for value in given) / len(given)
    if sum(map(len, given)) / len(given) > 40 or blanks >= 4:
        return "text"
    if len(different) > 0.9 * len(given) and len(given) > 5:
        return "text" if blanks >= 2 else "unique"
    return "words"


def _are_tags(cells: Sequence[frozenset[str]]) -> bool:
    """Whether cells hold several words each, and no class has such a name: some are put together of others."""
    if len(cells) > 5000:
        return False
    alone = {part for cell in cells if len(cell) == 1 for part in cell}
    several = [cell for cell in cells if len(cell) > 1]
    if any(len(cell & alone) > 1 for cell in several):
        return True
    known = set(several)
    by_part: dict[str, list[frozenset[str]]] = {}
    for cell in known:
        for part in cell:
            by_part.setdefault(part, []).append(cell)
    return any(small < large for small in known for large in by_part[next(iter(small))])
