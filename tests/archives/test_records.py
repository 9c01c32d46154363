from __future__ import annotations

from datastage.reader import FileRecord, FileRecords

ONE = FileRecord("a/1", 5, 0xFFFFFFFF)
LINK = FileRecord("a/l", 0, 0, "1")
TWO = FileRecord("b", 1 << 40, 7)


def test_files_come_back_as_they_were_put_in():
    assert list(FileRecords([ONE, LINK, TWO])) == [ONE, LINK, TWO]


def test_the_last_ones_are_counted_from_the_end():
    files = FileRecords([ONE, TWO, LINK])
    assert (files[-1], files[-2], files[1:]) == (LINK, TWO, [TWO, LINK])
