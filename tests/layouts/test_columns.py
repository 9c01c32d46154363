"""Columns of long tables: each cell is that of its own column, however wide its row is."""

import time

import pytest

from datastage import layouts
from datastage.layouts.columns import HEAD_BYTES, open_table
from datastage.layouts.tree import of_file, of_names
from tests.layouts.test_beside import make as make

N = 3000


def opened(path, lines):
    path.write_text("\n".join(lines) + "\n", "utf-8")
    assert path.stat().st_size > HEAD_BYTES
    return open_table(of_file(path), path.name)


@pytest.mark.parametrize("odd", ["{i}.jpg,640,480,{c}", "{i}.jpg,640,480,{c},seen, twice", "{i}.jpg,640,480,{c},", ""])
def test_a_row_of_another_width_gives_the_cell_of_the_column_that_is_asked_for(odd, tmp_path):
    plain = "{i}.jpg,640,480,{c},a picture"
    rows = [(odd if i % 10 == 5 else plain).format(i=i, c="ab"[i % 2]) for i in range(N)]
    for column, at in (("label", 3), ("note", 4), ("height", 2)):
        table = opened(tmp_path / f"{at}.csv", ["file,width,height,label,note", *rows])
        expected = [(row.split(",") + [""])[at].strip() for row in rows if row]
        assert table.columns(column)[0] == expected


def test_a_comma_at_the_end_of_some_rows_takes_no_label(make):
    rows = [f"{i}.jpg,{'ab'[i % 2]}{' ' * 60}{',' if i % 10 == 5 else ''}" for i in range(N)]
    data = make({"labels.csv": "\n".join(["file,label", *rows]), **{f"x/{i}.jpg": "" for i in range(N)}})
    found = layouts.read(data, labels="labels.csv:label")
    assert found.counts() == {"a": N // 2, "b": N // 2}


@pytest.mark.parametrize("blank", ["\xa0", "\u3000", "\x85", "\x1c", "\xa0,\xa0"])
def test_a_line_of_any_blanks_is_no_row(blank, make):
    rows = [f"{i}.jpg,{'ab'[i % 2]},a note of it that is long" for i in range(N)]
    data = make({"labels.csv": "\n".join(["file,kind,note", *rows, blank]), **{f"x/{i}.jpg": "" for i in range(N)}})
    assert layouts.read(data, labels="labels.csv:kind").counts() == {"a": N // 2, "b": N // 2}
    assert layouts.read(data, labels="labels.csv:note", test=0).classes == ("a note of it that is long",)


def test_the_time_for_classes_in_two_parts_grows_as_they_do_and_not_by_the_square():
    def taken(n):
        names = [f"{part}/c/img_{i}.jpg" for part in ("train", "test") for i in range(n)]
        began = time.process_time()
        reading = layouts.read(of_names(names, "w"), labels=lambda path: f"class {path.rpartition('_')[2]}")
        assert len(reading.classes) == n
        return time.process_time() - began

    few, many = (min(taken(n) for _ in range(3)) for n in (2_000, 16_000))
    assert many < 24 * few  # eight times as many: by the square it would be 64 times
