from __future__ import annotations

import pytest

from datastage.archives import safety
from datastage.archives.errors import Fault, error_of, shown
from datastage.archives.safety import Tree, clean


def rule_of(act) -> str:
    with pytest.raises(Fault) as caught:
        act()
    return caught.value.rule


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("/etc/passwd", "N-ABS"),
        ("\\\\server\\share\\x", "N-ABS"),
        ("C:\\x", "N-DRIVE"),
        ("c:/x", "N-DRIVE"),
        ("../x", "N-UP"),
        ("a/../b", "N-UP"),
        ("a\\..\\b", "N-UP"),
        ("a/..", "N-UP"),
        ("a\0b", "N-NUL"),
        ("x" * 256, "N-LONG"),
        ("é" * 128, "N-LONG"),
        ("d/" * 300 + "f", "N-LONG"),
        ("/".join(["d" * 99] * 50), "N-LONG"),
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(name, rule):
    assert rule_of(lambda: clean(name)) == rule
    assert rule_of(lambda: Tree().admit(name)) == rule


@pytest.mark.parametrize("name", ["", ".", "./."])
def test_a_file_needs_a_name(name):
    assert rule_of(lambda: Tree().admit(name)) == "N-EMPTY"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a//b", "a/b"),
        ("./a/./b", "a/b"),
        ("a..b", "a..b"),
        ("...", "..."),
        ("~/x", "~/x"),
        ("-rf", "-rf"),
        ("./-rf/ /!", "-rf/ /!"),
        ("x ", "x "),
    ],
)
def test_an_odd_name_that_stays_inside_is_kept(name, path):
    assert Tree().admit(name) == path


@pytest.mark.parametrize(
    ("path", "target", "rule"),
    [
        ("l", "/etc", "L-OUT"),
        ("l", "..", "L-OUT"),
        ("a/l", "../..", "L-OUT"),
        ("a/l", "b/../../..", "L-OUT"),
        ("l", "a/../b", "L-OUT"),
        # Enough room upwards, and still not kept: what went down may be a link by then.
        ("a/b/c/l", "../../s/../x", "L-OUT"),
        ("d/l", "x/../y", "L-OUT"),
        ("a/b/l", "./c/./../d", "L-OUT"),
        ("l", "", "L-TARGET"),
        ("l", "a\0b", "L-TARGET"),
        ("l", "x/" * 3000, "L-TARGET"),
    ],
)
def test_a_link_that_could_leave_the_folder_is_refused(path, target, rule):
    assert rule_of(lambda: Tree().admit(path, "link", 0, target)) == rule


@pytest.mark.parametrize(
    ("path", "target"), [("l", "x"), ("a/l", "../x"), ("a/b/l", "../.."), ("l", "."), ("l", "a/b")]
)
def test_a_link_that_stays_inside_is_kept(path, target):
    tree = Tree()
    assert tree.admit(path, "link", 0, target) == path
    assert tree.links == {path: target}


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [
        (("x",), ("x/y",), "D-KIND"),
        (("x/y",), ("x",), "D-KIND"),
        (("x", "folder"), ("x",), "D-KIND"),
        (("x",), ("x", "folder"), "D-KIND"),
        (("x", "link", 0, "y"), ("x/z",), "L-THROUGH"),
        (("x/z",), ("x", "link", 0, "y"), "D-KIND"),
        (("x",), ("x", "link", 0, "y"), "D-KIND"),
        (("x", "link", 0, "y"), ("x",), "D-KIND"),
    ],
)
def test_two_members_cannot_share_a_path(first, second, rule):
    tree = Tree()
    tree.admit(*first)
    assert rule_of(lambda: tree.admit(*second)) == rule


@pytest.mark.parametrize("before", ["a/f", "m/f", "z/f"])
def test_the_folder_of_a_file_is_known_whatever_came_before(before):
    tree = Tree()
    tree.admit(before)
    tree.admit(before + "2")  # beside the one before: no look for its folder
    tree.admit("k/f")
    assert tree.kinds["k"] == "folder"
    assert rule_of(lambda: tree.admit("k")) == "D-KIND"


@pytest.mark.parametrize("first", ["x", "./x"])
def test_of_two_files_of_one_path_the_second_is_admitted_and_noted(first):
    tree = Tree()
    assert tree.admit(first) == tree.admit("x") == "x"
    assert tree.admit("y") == "y"
    assert tree.twice == {"x"}


def test_of_two_links_of_one_path_the_second_counts_and_is_judged():
    tree = Tree()
    tree.admit("x", "link", 0, "y")
    tree.admit("x", "link", 0, "z")
    assert (tree.links, tree.twice) == ({"x": "z"}, {"x"})
    assert rule_of(lambda: tree.admit("x", "link", 0, "../z")) == "L-OUT"


def test_a_file_may_lie_below_255_folders_and_not_below_more():
    folders = "d/" * 255
    assert Tree().admit(folders + "f") == folders + "f"
    assert Tree().admit(folders, "folder") == folders.rstrip("/")
    assert rule_of(lambda: Tree().admit("d/" + folders + "f")) == "N-LONG"
    assert rule_of(lambda: Tree().admit("d/" + folders, "folder")) == "N-LONG"


@pytest.mark.parametrize("admit", [lambda tree, n: tree.admit(f"{n}/f"), lambda tree, n: tree.admit(f"{n}", "folder")])
def test_folders_take_room_and_count_as_members(admit, monkeypatch):
    tree = Tree(free_bytes=100 * 4096)
    for n in range(100):
        admit(tree, n)
    assert tree.n_bytes == 0
    assert rule_of(lambda: admit(tree, 100)) == "T-ROOM"
    monkeypatch.setattr("datastage.archives.safety.MAX_MEMBERS", 50)
    many = Tree()
    assert rule_of(lambda: [admit(many, n) for n in range(60)]) == "M-MANY"
    deep = Tree()
    assert deep.admit("d/" * 49, "folder")  # and the folder itself
    assert rule_of(lambda: deep.admit("e", "folder")) == "M-MANY"


def test_files_count_as_members(monkeypatch):
    monkeypatch.setattr("datastage.archives.safety.MAX_MEMBERS", 50)
    tree = Tree()
    for n in range(49):  # and the folder itself
        tree.admit(f"{n}")
    assert rule_of(lambda: tree.admit("49")) == "M-MANY"


@pytest.mark.parametrize("kind", ["FIFO", "character device", "socket"])
def test_only_files_folders_and_links_are_admitted(kind):
    assert rule_of(lambda: Tree().admit("x", kind)) == "S-SPECIAL"


def test_a_folder_may_be_there_twice():
    tree = Tree()
    tree.admit("d/f")
    assert tree.admit("d/", "folder") == "d"
    assert tree.admit("d", "folder") == "d"


def test_more_bytes_than_there_is_room_for_are_refused():
    tree = Tree(free_bytes=10)
    tree.admit("a", "file", 6)
    assert rule_of(lambda: tree.admit("b", "file", 5)) == "T-ROOM"


def test_a_size_below_zero_is_refused():
    assert rule_of(lambda: Tree().admit("a", "file", -1)) == "T-SIZE"


@pytest.mark.parametrize(
    ("target", "rule"), [("h", "L-MISSING"), ("gone", "L-MISSING"), ("d", "L-MISSING"), ("l", "L-LINK")]
)
def test_a_hard_link_needs_a_file(target, rule):
    tree = Tree()
    tree.admit("d", "folder")
    tree.admit("l", "link", 0, "d")

    def act() -> None:
        tree.admit("h", "hardlink", 0, target)
        tree.finish()

    assert rule_of(act) == rule


def test_a_hard_link_may_come_before_its_file_and_lead_to_another():
    tree = Tree()
    tree.admit("h", "hardlink", 0, "i")
    tree.admit("i", "hardlink", 0, "./f")
    tree.admit("f")
    assert tree.finish() == [("h", "f"), ("i", "f")]


def test_no_error_shows_a_terminal_what_it_would_obey():
    text = str(error_of(Fault("N-UP", "has it all", "a\x1b[31m\n\u202eb\udcff"), "x.zip"))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "\x1b" not in shown("\x1b")


def test_a_link_may_have_a_target_as_long_as_systems_take_and_no_longer():
    longest = "/".join(["d" * 63] * 64)
    assert len(longest) == safety.MAX_TARGET_BYTES
    Tree().admit("link", "link", target=longest)
    with pytest.raises(Fault, match="over 4095 bytes"):
        Tree().admit("link", "link", target=longest + "d")
