from __future__ import annotations

from datastage.archives.records import Files, UnpackedFile

ONE = UnpackedFile("a/1", 5, 0xFFFFFFFF)
LINK = UnpackedFile("a/l", 0, 0, "link", "1")
TWO = UnpackedFile("b", 1 << 40, 7)


def test_files_come_back_as_they_were_put_in():
    assert list(Files([ONE, LINK, TWO])) == [ONE, LINK, TWO]


def test_the_last_ones_are_counted_from_the_end():
    files = Files([ONE, TWO, LINK])
    assert (files[-1], files[-2], files[1:]) == (LINK, TWO, [TWO, LINK])


def test_a_link_taken_out_does_not_lend_its_kind_to_the_next():
    files = Files([ONE, LINK])
    assert files.pop() == LINK
    files.append(TWO)
    assert list(files) == [ONE, TWO]


def test_a_link_put_in_the_place_of_a_file_is_a_link():
    files = Files([ONE, LINK])
    files[0], files[1] = LINK, ONE
    assert list(files) == [LINK, ONE]
