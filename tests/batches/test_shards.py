"""Shards on this disk as loaders: what is taken for samples, labels and parts, and that each sample comes once."""

from __future__ import annotations

import io
import json
import os
import pickle
import threading
import time

import numpy as np
import pytest
from PIL import Image

import datastage
from datastage import Augment, staged
from datastage.errors import IntegrityError, SpecError
from tests.stand_ins.shards import given, index_of, labelled, picture, shards, tar_of, write

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("here")


def loaders(data, **options):
    options = {"batch_size": 4, "device": "cpu", "progress": False, **options}
    return datastage.loaders(data, **options)


class Notes:
    def __init__(self):
        self.lines = []

    def phase(self, name, total_bytes):
        pass

    def advance(self, n_bytes):
        pass

    def resume(self, n_bytes):
        pass

    def note(self, text, label=""):
        self.lines.append(f"{label}: {text}")


def single(tmp_path, samples):
    """One shard of these samples, beside another that is as good, as a list in braces."""
    (tmp_path / "s-0.tar").write_bytes(tar_of(samples))
    (tmp_path / "s-1.tar").write_bytes(tar_of(samples))
    return str(tmp_path / "s-{0..1}.tar")


@pytest.mark.parametrize("kind", ["list", "folder", "index", "staged list", "relative"])
def test_each_sample_comes_once_an_epoch_with_its_label(tmp_path, kind, monkeypatch):
    counts = [7, 9, 5, 8, 11, 3]
    data = write(tmp_path / "set", counts, index=kind == "index")
    if kind == "folder":
        data = tmp_path / "set"
    elif kind == "index":
        data = str(tmp_path / "set" / "index.json")
    elif kind == "staged list":
        data = datastage.stage(data, progress=False)
        assert sorted(path.name for path in data.iterdir() if path.suffix == ".tar")[:2] == [
            "train-000000.tar",
            "train-000001.tar",
        ]
    elif kind == "relative":
        monkeypatch.chdir(tmp_path)
        data = "set/train-{000000..000005}.tar"
    train = loaders(data, test=0).train
    epochs = [given(train) for _ in range(3)]
    assert all(sorted(epoch) == list(range(43)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert len({label // 1 for label in epochs[0][:7]}) == 7
    assert len(train) == 11


def test_the_first_batches_are_those_of_one_shard(tmp_path):
    train = loaders(write(tmp_path, [8] * 6), test=0).train
    assert len({label // 8 for label in given(train)[:8]}) == 1


def test_an_index_tells_the_length_and_without_one_the_first_epoch_does(tmp_path):
    known = loaders(write(tmp_path / "a", [7, 9], index=True), test=0).train
    assert (len(known), known.n_samples) == (4, 16)
    train = loaders(write(tmp_path / "b", [7, 9]), test=0).train
    for asked in (train, train.dataset):
        with pytest.raises(TypeError, match="not known yet") as caught:
            len(asked)
        assert isinstance(caught.value, SpecError)
    assert train.n_samples is None
    assert "not counted yet" in train.explain()
    assert len(list(train)) == len(train) == 4
    assert train.n_samples == 16


def test_an_index_that_lies_about_a_shard_is_an_error(tmp_path):
    data = write(tmp_path, [7, 9], index=True)
    made = shards([7, 9])
    (tmp_path / "index.json").write_bytes(index_of(made, [7, 8]))
    train = loaders(data, test=0).train
    with pytest.raises(IntegrityError, match="9 samples"):
        list(train)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("train", "valid"), {"train", "val", "test"}),
        (("imagenet-train", "imagenet-validation"), {"train", "val", "test"}),
        (("photos",), {"train", "test"}),
        (("val",), {"train"}),
    ],
)
def test_the_names_of_shards_tell_the_parts(tmp_path, names, parts):
    for i, name in enumerate(names):
        write(tmp_path / "set", [20, 21], name, first=50 * i)
    found = loaders(tmp_path / "set")
    assert {name for name in ("train", "val", "test") if getattr(found, name) is not None} == parts
    assert sorted(sum((given(loader) for loader in found), [])) == sorted(
        50 * i + j for i in range(len(names)) for j in range(41)
    )
    if len(names) > 1:
        assert given(found.val) == list(range(50, 91))  # in order


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Test"), ("training", "testing")])
def test_folders_tell_the_parts_too(tmp_path, names):
    write(tmp_path / "set" / names[0], [6, 6], "s")
    write(tmp_path / "set" / names[1], [5], "s", first=100)
    train, test = loaders(tmp_path / "set")
    assert (sorted(given(train)), given(test)) == (list(range(12)), list(range(100, 105)))


def test_a_list_over_folders_takes_the_part_from_the_folder_and_a_staged_one_keeps_it(tmp_path):
    for k, part in enumerate(("train", "val", "test")):
        write(tmp_path / "test/set" / part, [4, 4], "s", first=10 * k)
    data = str(tmp_path / "test/set/{train,val,test}/s-{000000..000001}.tar")
    for found in (loaders(data), loaders(datastage.stage(data, progress=False))):
        assert [sorted(given(part)) for part in found] == [list(range(10 * k, 10 * k + 8)) for k in range(3)]


def test_shards_beside_folders_of_parts_are_of_the_part_that_their_name_says(tmp_path):
    write(tmp_path / "set/train", [6], "s")
    write(tmp_path / "set/val", [5], "s", first=50)
    write(tmp_path / "set/validation", [5], "s", first=70)
    write(tmp_path / "set", [4], "test", first=90)
    (tmp_path / "set/extra.tar").write_bytes(tar_of([("notes/readme", {"txt": b"hello"})]))
    said = Notes()
    train, val, test = loaders(tmp_path / "set", progress=said)
    assert sorted(given(train)) == list(range(6))
    assert sorted(y for _, ys in val for y in ys.tolist()) == [*range(50, 55), *range(70, 75)]
    assert given(test) == list(range(90, 94))
    assert any(line.startswith("Left out: extra.tar") for line in said.lines)
    write(tmp_path / "set", [4], "more")
    with pytest.raises(SpecError, match="more-000000.tar, whose name says no part"):
        loaders(tmp_path / "set")


def test_shards_whose_names_leave_their_part_open_are_named(tmp_path):
    write(tmp_path / "set", [3], "test_run-train")
    write(tmp_path / "set", [3], "test_run-val", first=10)
    write(tmp_path / "set", [3], "eval", first=20)
    said = Notes()
    found = loaders(tmp_path / "set", test=0, progress=said)
    assert (sorted(given(found.train)), given(found.val)) == ([0, 1, 2, 20, 21, 22], [10, 11, 12])
    assert "Parts: train 2 shards, val 1 shard, as their names say" in said.lines
    assert any("eval-000000.tar say no part" in line for line in said.lines)
    assert any("test_run-val-000000.tar: of the words" in line for line in said.lines)


def test_a_folder_that_all_shards_have_parts_nothing_and_what_is_not_set_aside_is_said(tmp_path):
    for site in "ab":
        write(tmp_path / site / "test", [9, 9], "s", first=20 * (site == "b"))
    train, test = loaders(f"{tmp_path}/{{a,b}}/test/s-{{000000..000001}}.tar", test=0.3)
    assert sorted(given(train) + given(test)) == [*range(18), *range(20, 38)]
    assert len(loaders(f"{tmp_path}/{{a,b}}/test/s-{{000000..000001}}.tar")) == 2
    write(tmp_path / "only", [9], "train-test")
    said = Notes()
    assert sorted(given(loaders(tmp_path / "only", progress=said).train)) == list(range(9))
    assert any(line.startswith("Set aside: nothing: shards of test alone") for line in said.lines)


def test_what_the_index_does_not_list_is_named(tmp_path):
    write(tmp_path, [5, 5], index=True)
    write(tmp_path, [5], "own")
    write(tmp_path / "val", [5])
    class_folders(tmp_path)
    said = Notes()
    assert loaders(tmp_path, test=0, progress=said).train.n_samples == 10
    left = [line.removeprefix("Left out: ") for line in said.lines if line.startswith("Left out")]
    assert left[0] == "own-000000.tar, val/train-000000.tar: index.json does not list them"
    assert left[1:] == ["the pictures in folders beside the shards: cat, dog, ..."]


def test_shards_of_one_name_in_several_folders_are_set_aside_one_by_one(tmp_path):
    for year in range(2019, 2025):
        write(tmp_path / str(year), [3, 3], first=20 * (year - 2019))
    parts = [set(given(part)) for part in loaders(str(tmp_path / "{2019..2024}/train-{000000..000001}.tar"), val=0.2)]
    assert [len(part) for part in parts] == [27, 6, 3]
    assert len(set.union(*parts)) == 36


def test_each_folder_of_a_list_has_its_own_index(tmp_path):
    write(tmp_path / "a", [5], index=True)
    write(tmp_path / "b", [7], first=50, index=True)
    train = loaders(str(tmp_path / "{a,b}/train-{000000..000000}.tar"), test=0).train
    assert train.n_samples == 12
    assert sorted(y for _, ys in train for y in ys.tolist()) == [*range(5), *range(50, 57)]


@pytest.mark.parametrize("n_shards", [4, 20])
def test_what_is_set_aside_is_the_same_each_time_and_said(tmp_path, n_shards):
    data = write(tmp_path, [10] * n_shards)
    said = Notes()
    train, val, test = loaders(data, val=0.2, progress=said)
    parts = [sorted(given(part)) for part in (train, val, test)]
    assert sorted(sum(parts, [])) == list(range(10 * n_shards))
    assert all(parts)
    again = loaders(data, val=0.2)
    assert [sorted(given(part)) for part in again] == parts
    (line,) = (line for line in said.lines if line.startswith("Set aside"))
    assert ("whole shards" in line) == (n_shards == 20)
    if n_shards == 20:
        assert [len(part) for part in parts] == [140, 40, 20]


@pytest.mark.parametrize(
    ("parts", "labels", "expected"),
    [
        ({"cls": b"3\n"}, None, 3),
        ({"json": b'{"label": 2, "width": 10}'}, None, 2),
        ({"json": b'{"label": 2, "class": 7}'}, "json:class", 7),
        ({"cls": b"1", "id.txt": b"5"}, "id.txt", 5),
        ({"cls": b"1000000000000000001"}, None, 10**18 + 1),
        ({"cls": b"-9223372036854775808"}, None, -(2**63)),
        ({"cls": b"1.5"}, None, 1.5),
        ({"json": b'{"box": [1, 2, 3.5]}'}, "json:box", [1.0, 2.0, 3.5]),
        ({"json": b"0.5"}, None, 0.5),
        ({"json": b"[0, 1, 0]"}, None, [0, 1, 0]),
        ({"json": b"[0, 1, 0]"}, "json", [0, 1, 0]),
        ({"json": b'{"label": 2}'}, "json", 2),
        ({"cls": b"1.5e-3"}, None, 1.5e-3),
        ({"txt": b"x"}, {"a": 4}, 4),
        ({"txt": b"x"}, lambda key: len(key), 1),
        ({"txt": b"x"}, lambda key: np.array([0.5, 2]), [0.5, 2.0]),
    ],
)
def test_labels_are_read_from_what_the_samples_have_and_the_user_says(tmp_path, parts, labels, expected):
    train = loaders(single(tmp_path, [("a", {"jpg": picture(9, kind="JPEG"), **parts})]), labels=labels, test=0).train
    ((_, y),) = train
    assert y.tolist() == [pytest.approx(expected) if "." in str(expected) else expected] * 2
    assert y.is_floating_point() == ("." in str(expected))


@pytest.mark.parametrize(
    ("parts", "labels", "words"),
    [
        ({"json": b'{"label": 2, "class": 7}'}, None, "labels='json:label'"),
        ({"json": b'{"width": 2}'}, None, "labels='json:width'"),
        ({"txt": b"a cat"}, None, "labels='txt'"),
        ({"json": b'{"label": [{"a": 1}]}'}, None, "labels="),
        ({"cls": b"1"}, 5, "labels="),
        ({"json": b'{"label": ["cat", "dog"]}'}, None, "labels="),
        ({"json": b'{"label": null}'}, None, "labels="),
        ({"cls": b"nan"}, None, "labels="),
    ],
)
def test_a_label_is_never_guessed(tmp_path, parts, labels, words):
    with pytest.raises(SpecError) as caught:
        loaders(single(tmp_path, [("a", {"png": picture(1), **parts})]), labels=labels)
    assert words in str(caught.value).splitlines()[-1]


def test_names_of_classes_are_numbered_in_order_or_as_asked_and_said(tmp_path):
    samples = [
        (f"{i}", {"png": picture(i), "cls": name.encode()}) for i, name in enumerate(("dog", "cat", "dog", "eel"))
    ]
    data, said = single(tmp_path, samples), Notes()
    found = loaders(data, test=0, progress=said)
    assert found.classes == ("cat", "dog", "eel")
    assert any("3, from cls: cat, dog, eel" in line for line in said.lines)
    assert sorted(sum((y.tolist() for _, y in found.train), [])) == [0, 0, 1, 1, 1, 1, 2, 2]
    mine = loaders(data, test=0, classes=["eel", "dog", "cat"])
    assert sorted(sum((y.tolist() for _, y in mine.train), [])) == [0, 0, 1, 1, 1, 1, 2, 2]
    with pytest.raises(IntegrityError, match="none of the 2"):
        list(loaders(data, test=0, classes=["dog", "cat"]).train)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["01", "1", "cat"], ("01", "1", "cat")),
        (["1_000", "1000", "1e3"], ("1000", "1_000", "1e3")),
        (["007", "008", "dog"], ("007", "008", "dog")),
    ],
)
def test_names_that_read_like_numbers_stay_as_they_are_written(tmp_path, labels, expected):
    samples = [(f"{i}", {"png": picture(i), "cls": name.encode()}) for i, name in enumerate(2 * labels)]
    for classes in (None, list(expected)):
        train = loaders(single(tmp_path, samples), test=0, classes=classes).train
        assert train.classes == expected
        assert sorted(y for _, ys in train for y in ys.tolist()) == sorted([0, 1, 2] * 4)


@pytest.mark.parametrize("odd", ['"n/a"', "null", "[1.5, 2]", '""'])
@pytest.mark.parametrize("usual", ["1.5", "1", "[1, 2, 3]", '"cat"'])
def test_a_label_unlike_the_others_is_an_error_that_names_its_sample(tmp_path, usual, odd):
    for name, n in (("train", 0), ("val", 5)):
        labels = [usual] * n + [usual if name == "train" else odd]
        samples = [(f"{name}{i}", {"png": picture(i), "json": label.encode()}) for i, label in enumerate(labels)]
        (tmp_path / f"{name}-0.tar").write_bytes(tar_of(samples))
    found = loaders(str(tmp_path / "{train,val}-{0..0}.tar"), test=0)
    list(found.train)
    with pytest.raises(IntegrityError, match="val5" if (usual, odd) != ('"cat"', '"n/a"') else "class of the sample"):
        list(found.val)


@pytest.mark.parametrize("odd", [10**18 + 1, 2**63, 10**20, "9" * 5000])
def test_a_whole_number_that_is_too_long_is_never_rounded(tmp_path, odd):
    samples = [(f"{i}", {"png": picture(i), "cls": f"{odd if i == 3 else 10**18}".encode()}) for i in range(4)]
    train = loaders(single(tmp_path, samples), test=0).train
    if odd == 10**18 + 1:
        assert sorted(sum((y.tolist() for _, y in train), [])) == [10**18] * 6 + [odd] * 2
    else:
        with pytest.raises(IntegrityError, match="label of the sample '3' is"):
            list(train)


def test_a_part_that_is_no_text_is_no_label(tmp_path):
    samples = [("a", {"png": picture(1), "npy": b"\x93NUMPY\x01\x00v\x00{}"})]
    with pytest.raises(IntegrityError, match="The npy of the sample 'a' is no text"):
        loaders(single(tmp_path, samples), labels="npy")


def test_classes_of_an_index_are_put_in_the_order_that_is_asked_for(tmp_path):
    write(tmp_path, [2], index=True, classes=["a", "b"])
    data = str(tmp_path / "index.json")
    for asked, expected in ((["b", "a"], [1, 0]), (["c", "b", "a"], [2, 1]), (None, [0, 1]), (["no", "yes"], [0, 1])):
        train = loaders(data, test=0, classes=asked, shuffle=False).train
        assert train.classes == tuple(asked or ("a", "b"))
        assert [y for _, ys in train for y in ys.tolist()] == expected
    with pytest.raises(SpecError, match=r"(?s)names a too.*classes=\['a', 'b'\]"):
        loaders(data, classes=["b"])
    assert loaders(data, test=0, labels=lambda key: ["odd", "even"][int(key) % 2]).classes == ("even", "odd")
    assert loaders(data, test=0, labels=lambda key: 5 + int(key)).classes == ()


@pytest.mark.parametrize(
    ("own", "able", "wrong"),
    [
        (["3", "7"], [[7, 3], [3, 7], ["no", "yes"]], [[0, 1], [1, 2]]),
        (None, [[0, 1], range(3), ["no", "yes"], [1, 2]], [[1, 0], [2, 0, 1]]),
    ],
)
def test_numbers_in_classes_are_no_names_of_other_numbers_in_shards(own, able, wrong, tmp_path):
    data = write(tmp_path, [2], index=bool(own), **({"classes": own} if own else {}))
    for classes in able:
        assert loaders(data, test=0, classes=classes).classes == tuple(map(str, classes))
    for classes in wrong:
        with pytest.raises(SpecError, match="calls the number"):
            loaders(data, test=0, classes=classes)


@pytest.mark.parametrize("is_other", [False, True])
def test_shards_that_were_moved_are_counted_by_the_one_index_and_others_of_their_names_are_not(tmp_path, is_other):
    made = shards([9, 6])
    for path, data in zip(("a/train-000000.tar", "b/test-000000.tar"), made):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_bytes(tar_of(labelled(range(40))) if is_other and path[0] == "b" else data)
    (tmp_path / "a/index.json").write_bytes(index_of(made, [9, 6]).replace(b"train-000001", b"test-000000"))
    train, test = loaders(f"{tmp_path}/{{a/train,b/test}}-000000.tar")
    assert (train.n_samples, test.n_samples) == (9, None if is_other else 6)
    assert len(given(test)) == (40 if is_other else 6)


def test_indexes_of_other_classes_are_brought_together_by_name(tmp_path):
    write(tmp_path / "a", [2], index=True, classes=["cat", "dog"])
    write(tmp_path / "b", [3], index=True, classes=["cow", "dog", "emu"])
    data = str(tmp_path / "{a,b}/train-{000000..000000}.tar")
    train = loaders(data, test=0, shuffle=False).train
    assert train.classes == ("cat", "cow", "dog", "emu")
    assert [y for _, ys in train for y in ys.tolist()] == [0, 2, 1, 2, 3]
    write(tmp_path / "c", [2])
    with pytest.raises(SpecError, match="train-000000.tar mean is not told"):
        loaders(data.replace("{a,b}", "{a,b,c}"))


def test_a_class_below_nought_or_beyond_the_known_ones_is_an_error(tmp_path):
    for label in (b"-1", b"2"):
        samples = [("a", {"png": picture(1), "cls": b"0"}), ("b", {"png": picture(1), "cls": label})]
        step = "with -100" if label == b"-1" else "classes="
        with pytest.raises(IntegrityError, match=f"(?s)class of the sample 'b' is none of the 2.*{step}"):
            list(loaders(single(tmp_path, samples), test=0, classes=["x", "y"]).train)


@pytest.mark.parametrize(
    "samples",
    [
        [(key, {"png": picture(i), "cls": b"1"}) for i, key in enumerate(("a", "img", "img"))],
        [("cat", {"00.png": picture(1), "01.png": picture(2), "cls": b"1"})],
        [(key, {f"{key}{i}.png": picture(i) for i in range(2)}) for key in ("a", "b")],
        [("a", {"png": picture(1)}), ("b", {"png": picture(2)}), ("a", {"cls": b"1"}), ("b", {"cls": b"1"})],
    ],
    ids=["one key twice", "dots in names", "other names each", "labels behind all pictures"],
)
def test_samples_whose_files_run_together_or_lie_apart_are_an_error(tmp_path, samples):
    with pytest.raises(
        IntegrityError, match="files of one ending|pictures, (00.png and 01|a0.png and a1).png|one behind the other"
    ):
        list(loaders(single(tmp_path, samples), test=0, labels={"a": 1, "b": 1, "img": 1, "cat": 1}).train)


def test_a_folder_of_shards_whose_labels_lie_behind_all_pictures_says_so(tmp_path):
    apart = [(key, {part: own[part]}) for part in ("png", "cls") for key, own in labelled(range(3))]
    (tmp_path / "s-0.tar").write_bytes(tar_of(apart))
    for data in (tmp_path, tmp_path / "s-0.tar"):
        with pytest.raises(IntegrityError, match="'000000' do not lie one behind the other"):
            loaders(data)


def test_of_several_pictures_in_a_sample_it_is_said_which_is_taken(tmp_path):
    samples = [("a", {"tif": picture(1, kind="TIFF"), "png": picture(2), "cls": b"2"})]
    said = Notes()
    assert given(loaders(single(tmp_path, samples), test=0, progress=said).train) == [2, 2]
    assert "Pictures: of each sample png is taken, and not tif" in said.lines
    samples = [(str(i), {"left.png": picture(i), "right.png": picture(9), "cls": b"%d" % i}) for i in range(5)]
    train = loaders(single(tmp_path, samples), test=0, progress=said).train
    assert sorted(given(train)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert "Pictures: of each sample left.png is taken, and not right.png" in said.lines
    for lacking in (0, 3):
        samples = [(str(i), {"image.png": picture(i), "mask.png": picture(9), "cls": b"%d" % i}) for i in range(5)]
        del samples[lacking][1]["mask.png"]
        train = loaders(single(tmp_path, samples), test=0, progress=said).train
        assert sorted(given(train)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert "Pictures: of each sample image.png is taken, and not mask.png" in said.lines
        del samples[lacking][1]["image.png"], samples[lacking - 1][1]["image.png"]
        samples[lacking][1]["mask.png"] = picture(9)
        with pytest.raises(IntegrityError, match="pictures, image.png and mask.png are of one sample"):
            list(loaders(single(tmp_path, samples), test=0).train)


@pytest.mark.parametrize("first", [None, tar_of([])])
def test_shards_without_samples_come_first_or_are_a_part_of_their_own(tmp_path, first):
    write(tmp_path / "set", [6], "train", first=10)
    (tmp_path / "set" / ("train-0.tar" if first else "test-0.tar")).write_bytes(tar_of([]))
    said = Notes()
    train, test = loaders(tmp_path / "set", test=0.4 if first else None, val=0, progress=said)
    assert sorted(given(train) + given(test)) == list(range(10, 16))
    assert ("Left out: the shards of test, which hold no samples" in said.lines) == (first is None)


def test_a_part_that_came_out_empty_says_so(tmp_path):
    data, said = write(tmp_path, [3]), Notes()
    assert given(loaders(data, progress=said).test) == []
    assert any(line.startswith("Note: test is empty") for line in said.lines)


def test_an_epoch_without_a_batch_to_train_on_is_an_error(tmp_path):
    with pytest.raises(SpecError, match="12 samples give no whole batch of 64"):
        list(loaders(write(tmp_path, [7, 5]), test=0, batch_size=64, drop_last=True).train)
    (tmp_path / "s-0.tar").write_bytes(tar_of([("a", {"png": b"no picture", "cls": b"1"})]))
    (tmp_path / "s-1.tar").write_bytes(tar_of([("b", {"png": b"no picture", "cls": b"1"})]))
    with pytest.raises(IntegrityError, match="None of the"):
        list(loaders(str(tmp_path / "s-{0..1}.tar"), test=0, size=8).train)


def test_what_is_not_counted_says_why(tmp_path):
    write(tmp_path, [20], index=True)
    with pytest.raises(SpecError, match="set aside follows from their keys"):
        len(loaders(tmp_path, test=0, val=0.1).train)


def test_a_compressed_shard_says_that_it_is_one(tmp_path):
    import gzip

    (tmp_path / "s-0.tar").write_bytes(gzip.compress(tar_of(labelled(range(4)))))
    with pytest.raises(SpecError, match="s-0.tar is compressed"):
        loaders(str(tmp_path / "s-{0..0}.tar"))


@pytest.mark.parametrize("labels", [None, "json:y", {f"{i:06d}": i for i in range(6)}])
@pytest.mark.parametrize("parts", [{}, {"json": b'{"id": 7}'}])
def test_a_test_part_without_the_labels_of_training_is_to_predict_and_limit_leaves_it_whole(tmp_path, labels, parts):
    samples = [(key, {**own, "json": b'{"label": 1, "y": 2}'}) for key, own in labelled(range(6))]
    (tmp_path / "train-0.tar").write_bytes(tar_of(samples))
    for name in ("val", "test"):
        unlabelled = [(f"{name}{i}", {"png": picture(i), **parts}) for i in range(3)]
        (tmp_path / f"{name}-0.tar").write_bytes(tar_of(unlabelled))
    said = Notes()
    found = loaders(str(tmp_path / "{train,val,test}-0.tar"), labels=labels, limit=2, progress=said)
    assert [key for _, ids in found.predict for key in ids] == ["val0", "val1", "val2", "test0", "test1", "test2"]
    assert len(list(found.train)) == 1
    assert sum("it is .predict" in line for line in said.lines) == 2


@pytest.mark.parametrize(("names", "untold"), [((b"0", b"1"), b"-1"), ((b"cat", b"dog"), b"-1"), ((b"0", b"-1"), None)])
def test_a_test_part_of_numbers_below_nought_is_to_predict_where_classes_are_known(tmp_path, names, untold):
    classes = [name.decode() for name in names] if untold else None
    for part in ("train", "test"):
        labels = names if part == "train" else [untold or b"-1"] * 2
        samples = [(f"{part}{i}", {"png": picture(i), "cls": label}) for i, label in enumerate(labels)]
        (tmp_path / f"{part}-0.tar").write_bytes(tar_of(samples))
    found = loaders(tmp_path, classes=classes)
    assert sorted(sum((y.tolist() for _, y in found.train), [])) == ([0, 1] if untold else [-1, 0])
    ((_, told),) = found.predict if untold else found.test
    assert list(told) == (["test0", "test1"] if untold else [-1, -1])


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("classes", [None, ["cat", "dog"]])
def test_labels_behind_many_samples_without_one_are_not_lost(tmp_path, order, classes):
    (tmp_path / "train-0.tar").write_bytes(tar_of(labelled(range(4))))
    cls = ([b"-1"] * 25 + [b"1"] * 5)[::order]
    samples = [(f"t{i:02}", {"png": picture(i), "cls": one}) for i, one in enumerate(cls)]
    (tmp_path / "test-0.tar").write_bytes(tar_of(samples[:22]))
    (tmp_path / "test-1.tar").write_bytes(tar_of(samples[22:]))
    said = Notes()
    found = loaders(tmp_path, classes=classes and [*classes, "eel", "fox"], progress=said)
    assert (found.predict, [line for line in said.lines if ".predict" in line]) == (None, [])
    (tmp_path / "test-0.tar").write_bytes(tar_of([(key, {**own, "cls": b"-1"}) for key, own in samples[:22]]))
    (tmp_path / "test-1.tar").write_bytes(tar_of([(key, {**own, "cls": b"-1"}) for key, own in samples[22:]]))
    found = loaders(tmp_path, classes=classes and [*classes, "eel", "fox"])
    assert (found.test, found.predict.n_samples or len(list(found.predict))) == (None, 8)


def unlabelled(numbers):
    return [(f"t{i:04}", {"png": picture(i % 9)}) for i in numbers]


def test_a_damaged_test_part_without_labels_leaves_training_as_it_is(tmp_path):
    write(tmp_path, [40])
    made = tar_of(unlabelled(range(100)))
    (tmp_path / "test-000000.tar").write_bytes(made[: len(made) // 2 + 700])
    found = loaders(tmp_path, progress=(said := Notes()))
    assert any(line.startswith("Note: test-000000.tar is") for line in said.lines)
    assert sorted(given(found.train)) == list(range(40))
    with pytest.raises(IntegrityError, match="test-000000.tar is"):
        list(found.predict)


@pytest.mark.parametrize("index", [True, False])
def test_of_a_test_part_without_labels_so_many_are_asked_and_the_line_says_it(tmp_path, index, monkeypatch):
    from datastage.batches import shards as module

    monkeypatch.setattr(module, "MOST_TRIED", 50)
    train, test = tar_of(labelled(range(4))), [tar_of(unlabelled(range(i, i + 40))) for i in (0, 40)]
    made = {"train-000000.tar": train, "test-000000.tar": test[0], "test-000001.tar": test[1]}
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    if index:
        known = json.loads(index_of([train], [4]))
        known["shards"] += json.loads(index_of(test, [40, 40], "test"))["shards"]
        (tmp_path / "index.json").write_text(json.dumps(known))
    said = Notes()
    loaders(tmp_path, progress=said)
    of = " of 80" if index else ""
    assert f"Labels: the first 50{of} samples of test have none in cls: it is .predict" in said.lines
    monkeypatch.undo()
    loaders(tmp_path, progress=(said := Notes()))
    assert "Labels: test has none in cls: it is .predict" in said.lines


def test_a_part_labelled_from_some_sample_on_is_said_before_training(tmp_path):
    write(tmp_path, [6])
    (tmp_path / "test-000000.tar").write_bytes(tar_of([*unlabelled(range(30)), *labelled(range(100, 104))]))
    said = Notes()
    found = loaders(tmp_path, progress=said)
    (line,) = [line for line in said.lines if "others have" in line]
    assert line == (
        "Labels: 't0000' of test has none in cls, and others have: an epoch of test ends there (test=0 leaves it out)"
    )
    with pytest.raises(IntegrityError, match="'t0000' has no cls"):
        list(found.test)
    assert "test" not in str(loaders(tmp_path, test=0))


def test_a_test_part_without_labels_is_to_predict(tmp_path):
    write(tmp_path / "set", [6])
    (tmp_path / "set/test-0.tar").write_bytes(tar_of([(f"t{i}", {"png": picture(i)}) for i in range(3)]))
    found = loaders(tmp_path / "set")
    ((_, ids),) = found.predict
    assert list(ids) == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    "augment",
    [None, Augment(flip=True), Augment(crop=2, flip=True), Augment(scale=(0.5, 1.0), flip=True), Augment(cutout=3)],
)
@pytest.mark.parametrize("keep", [True, False])
def test_batches_are_the_same_whether_pixels_are_kept_or_not(tmp_path, augment, keep):
    data = write(tmp_path, [7, 9, 5])
    one = loaders(data, test=0, augment=augment, seed=3, size=8).train
    two = loaders(data, test=0, augment=augment, seed=3, size=8, cache_gb=1.0 if keep else 1e-7).train
    for _ in range(2):
        for (x, y), (u, v) in zip(one, two, strict=True):
            assert y.tolist() == v.tolist()
            assert x.tolist() == u.tolist()
    assert ("kept" in two.explain()) == keep


def test_chance_is_another_in_each_shard_and_each_epoch(tmp_path):
    photo, out = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3) // 13 % 256, io.BytesIO()
    Image.fromarray(photo.astype(np.uint8)).save(out, "PNG")
    data = single(tmp_path, [(str(i), {"png": out.getvalue(), "cls": b"0"}) for i in range(16)])
    train = loaders(data, test=0, batch_size=16, shuffle=False, augment=Augment(crop=4), dtype="uint8").train
    batches = [x.numpy().tobytes() for _ in range(2) for x, _ in train]
    assert len(batches) == len(set(batches)) == 4


def test_later_epochs_and_later_sessions_read_pixels(tmp_path, monkeypatch):
    data = write(tmp_path, [7, 9, 5])
    list(loaders(data, test=0).train)
    deadline = 1200
    train = loaders(data, test=0).train
    while deadline and len(list((tmp_path / "root").rglob("packed-*.json"))) < 3:
        time.sleep(0.05)
        deadline -= 1
    monkeypatch.setattr("datastage.batches.pixel_cache.decode", None)  # nothing can be decoded any more
    assert sorted(given(train)) == list(range(21))


def bitmaps(path, first):
    """A shard of keys and lengths that every other such shard has, too; each picture is of the grey of its label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [(f"{i}", {"bmp": picture(first + i, kind="BMP"), "cls": f"{first + i:03d}".encode()}) for i in range(6)]
    path.write_bytes(tar_of(samples))


def settled(tmp_path):
    for thread in threading.enumerate():
        if thread.name == "datastage-keep":
            thread.join()
    return sorted(path.name for path in tmp_path.rglob("packed-*.u8"))


@pytest.mark.parametrize("where", ["folder", "list"])
def test_shards_of_one_name_and_equal_keys_keep_their_own_pixels(tmp_path, where):
    parts = ("train", "val", "test") if where == "folder" else ("2019", "2020")
    for k, part in enumerate(parts):
        bitmaps(tmp_path / "set" / part / "000000.tar", 40 * k)
    data = tmp_path / "set" if where == "folder" else str(tmp_path / "set" / "{2019,2020}" / "000000.tar")
    options = {} if where == "folder" else {"test": 0}
    kept = []
    for _ in range(2):
        for _ in range(2):
            found = [sorted(given(loader)) for loader in loaders(data, **options)]
            assert sorted(sum(found, [])) == [40 * k + i for k in range(len(parts)) for i in range(6)]
        kept.append(settled(tmp_path))
    assert len(kept[0]) == len(parts)
    assert kept[0] == kept[1]


@pytest.mark.parametrize("kind", ["path", "staged"])
def test_shards_made_anew_with_the_lengths_of_before_give_their_own_pixels(tmp_path, kind):
    for first in (0, 100):
        bitmaps(tmp_path / "set" / "train-0.tar", first)
        os.utime(tmp_path / "set" / "train-0.tar", ns=(10**18 + first,) * 2)
        data = str(tmp_path / "set" / "train-{0..0}.tar")
        if kind == "staged":
            data = datastage.stage(data, progress=False, refresh=True)
        for _ in range(2):
            train = loaders(data, test=0, cache=tmp_path / "pixels").train
            assert sorted(given(train)) == list(range(first, first + 6))
            settled(tmp_path)


def test_the_list_of_what_is_staged_is_read_once_for_all_shards_of_a_folder(tmp_path, monkeypatch):
    for k in range(4):
        bitmaps(tmp_path / "set" / f"train-{k}.tar", 6 * k)
    data = datastage.stage(str(tmp_path / "set" / "train-{0..3}.tar"), progress=False)
    train = loaders(data, test=0).train
    lists, read_lines = [], staged.read_lines
    monkeypatch.setattr(staged, "read_lines", lambda *words: lists.append(words) or read_lines(*words))
    monkeypatch.setattr("datastage.batches.shard_source.KEPT_OPEN", 1)
    for _ in range(3):
        assert sorted(given(train)) == list(range(24))
    assert len(lists) == 1


@pytest.mark.parametrize("listing_s", [0, 1])
def test_kept_pixels_serve_the_same_shards_staged_again_elsewhere(tmp_path, monkeypatch, listing_s):
    counts = staged.counts
    monkeypatch.setattr(staged, "counts", lambda files: time.sleep(listing_s) or counts(files))
    bitmaps(tmp_path / "set" / "train-0.tar", 0)
    for session in range(2):
        (tmp_path / "set" / "train-0.tar").touch()
        root = tmp_path / f"root{session}"
        data = datastage.stage(str(tmp_path / "set" / "train-{0..0}.tar"), root=root, progress=False)
        assert sorted(given(loaders(data, test=0, cache=tmp_path / "pixels").train)) == list(range(6))
        settled(tmp_path)
        monkeypatch.setattr("datastage.batches.pixel_cache.decode", None)


def test_pictures_that_cannot_be_read_are_left_out_and_listed_or_an_error(tmp_path):
    samples = labelled(range(6))
    samples[2][1]["png"] = b"no picture"
    del samples[4][1]["png"]
    (tmp_path / "s-0.tar").write_bytes(tar_of(samples))
    (tmp_path / "s-1.tar").write_bytes(tar_of(labelled(range(6, 9))))
    said = Notes()
    train = loaders(str(tmp_path / "s-{0..1}.tar"), test=0, progress=said).train
    assert sorted(given(train)) == [0, 1, 3, 5, 6, 7, 8]
    assert any(line.startswith("Left out: 2 images") and "s-0.tar/000002" in line for line in said.lines)
    assert any("the sample has no picture, but cls" in line for line in said.lines)
    with pytest.raises(IntegrityError, match="s-0.tar/00000[24] cannot be read as an image") as caught:
        list(loaders(str(tmp_path / "s-{0..1}.tar"), test=0, unreadable="raise").train)
    assert str(caught.value).splitlines()[-1].strip().startswith("Next: ")


@pytest.mark.parametrize("labels", [None, lambda key: int(key)])
def test_a_sample_without_a_picture_is_left_out_whatever_its_label(tmp_path, labels):
    data, said = single(tmp_path, [("__meta", {"json": b"{}"}), *labelled(range(5))]), Notes()
    train = loaders(data, test=0, labels=labels, progress=said).train
    assert sorted(given(train)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert any("the sample has no picture" in line for line in said.lines)


def test_photos_of_mixed_sizes_are_brought_to_one(tmp_path):
    samples = [(f"{i}", {"png": picture(i, (40 + 9 * i, 50)), "cls": str(i).encode()}) for i in range(4)]
    train = loaders(single(tmp_path, samples), test=0).train
    assert {tuple(x.shape[1:]) for x, _ in train} == {(3, 48, 48)}


def test_limit_takes_the_first_samples_and_opens_no_further_shards(tmp_path):
    data = write(tmp_path, [7, 9, 5])
    train = loaders(data, test=0, limit=10).train
    (tmp_path / "train-000002.tar").write_bytes(b"nothing that anybody should read")
    assert [sorted(given(train)) for _ in range(2)] == [list(range(10))] * 2
    assert len(train) == 3


def test_a_tar_of_class_folders_is_still_one(tmp_path):
    (tmp_path / "pets.tar").write_bytes(
        tar_of([(f"{kind}/{i}", {"png": picture(i)}) for kind in ("cat", "dog") for i in range(6)])
    )
    assert loaders(tmp_path / "pets.tar").classes == ("cat", "dog")


@pytest.mark.parametrize("ending", ["txt", "json"])
def test_a_flat_tar_of_pictures_with_notes_behind_them_is_read_as_before(tmp_path, ending):
    keys = [f"{kind}{i}" for kind in ("cat", "dog") for i in range(6)]
    parts = [[(key, {"png": picture(i)}) for i, key in enumerate(keys)], [(key, {ending: b"{}"}) for key in keys]]
    (tmp_path / "flat.tar").write_bytes(tar_of(sum(parts, [])))
    found = loaders(tmp_path / "flat.tar", labels=lambda name: os.path.basename(name)[:3], test=0)
    assert found.classes == ("cat", "dog")
    assert sorted(sum((y.tolist() for _, y in found.train), [])) == [0] * 6 + [1] * 6


def test_a_single_shard_is_enough(tmp_path):
    (tmp_path / "s.tar").write_bytes(tar_of(labelled(range(9))))
    assert sorted(given(loaders(tmp_path / "s.tar", test=0).train)) == list(range(9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s-{5..2}.tar", "names no file"),
        ("s-{0..9999999}.tar", "more than"),
        ("set/train-{000000..000004}.tar", "3 are not there"),
        ("set/train-{000000..000001}.zip", "There is no"),
    ],
)
def test_a_wrong_list_is_an_error_that_says_the_next_step(tmp_path, monkeypatch, text, words):
    write(tmp_path / "set", [3, 3])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(datastage.DatastageError, match=words) as caught:
        loaders(text)
    assert str(caught.value).splitlines()[-1].strip().startswith("Next: ")


def test_a_loader_can_be_sent_to_another_process_and_counted(tmp_path):
    train = loaders(write(tmp_path, [7, 9]), test=0).train
    again = pickle.loads(pickle.dumps(train))
    assert given(again) == given(train)


@pytest.mark.parametrize("cache_gb", [1.0, 1e-9])  # pixels are kept, or decoded whenever they are asked for
def test_samples_can_be_had_one_by_one_once_they_are_counted(tmp_path, cache_gb):
    train = loaders(write(tmp_path, [7, 9], index=True), test=0, cache_gb=cache_gb).train
    image, label = train.dataset[10]
    assert (len(train.dataset), label, image[0, 0, 0]) == (16, 10, 10)


def test_the_parts_of_a_sample_that_are_not_used_do_no_harm(tmp_path):
    samples = [
        (f"{i}", {"json": json.dumps({"label": i}).encode(), "npy": b"x", "png": picture(i), "txt": b"y"})
        for i in range(5)
    ]
    assert sorted(given(loaders(single(tmp_path, samples), test=0).train)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("index", [True, False])
def test_on_a_tpu_no_shape_ever_changes(tmp_path, monkeypatch, index):
    import sys
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "stand_ins"))
    import torch_xla
    import torch_xla.distributed.parallel_loader as parallel
    import torch_xla.runtime

    parallel.shapes.clear()
    try:
        write(tmp_path / "set", [7, 9, 5], index=index)
        write(tmp_path / "set", [6], "test", first=100)
        (tmp_path / "set/index.json").unlink(missing_ok=True)
        found = datastage.loaders(tmp_path / "set", batch_size=4, progress=False)
        for _ in range(2):
            seen = [y.tolist() for _, y in found.train]
            assert [len(y) for y in seen] == [4] * 5
            assert len(set(sum(seen, []))) == 20
        assert [y.tolist() for _, y in found.test] == [[100, 101, 102, 103], [104, 105, -100, -100]]
        assert len(parallel.shapes) == 1
        assert torch_xla.syncs
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "torch_xla"]:
            del sys.modules[name]


JAX = """
import sys, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import datastage
train = datastage.loaders(sys.argv[1], batch_size=8, device="cpu", test=0, progress=False).train
mesh = Mesh(np.array(jax.devices()), ("batch",))
assert len(jax.devices()) == 4
seen = []
for x, y, weight in datastage.as_jax(train, NamedSharding(mesh, PartitionSpec("batch")), pad=True):
    assert x.shape[1:] == (8, 12, 3) and len(x.sharding.device_set) == 4
    seen += np.asarray(y)[np.asarray(weight) == 1].tolist()
assert sorted(seen) == list(range(21)), seen
"""


@pytest.mark.timeout(400)
def test_jax_on_four_devices_gets_each_sample_once(tmp_path):
    import os
    import subprocess
    import sys
    from pathlib import Path

    pytest.importorskip("jax")
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    data = write(tmp_path / "set", [7, 9, 5])
    environ = {**os.environ, **flags, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", JAX, data], env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_libraries_that_take_a_loader_apart_get_each_sample_once(tmp_path):
    from torch.utils.data import DataLoader

    train = loaders(write(tmp_path / "set", [7, 9, 5]), test=0).train
    whole = DataLoader(train.dataset, batch_sampler=train.batch_sampler, collate_fn=train.collate_fn)
    assert [sorted(label for _, y in whole for label in y.tolist()) for _ in range(2)] == [list(range(21))] * 2
    alone = DataLoader(train.dataset, sampler=train.sampler)
    assert sorted(int(y) for _, y in alone) == list(range(21))


@pytest.mark.parametrize("index", [True, False])
def test_shards_can_be_looked_at(tmp_path, index):
    pytest.importorskip("matplotlib")
    train = loaders(write(tmp_path / "set", [7, 9], index=index), test=0).train
    assert datastage.preview(train, n=4) is not None
    assert sorted(given(train)) == list(range(16))


@pytest.mark.parametrize("index", [True, False])
def test_what_reads_data_as_a_whole_says_that_shards_are_trained_on(tmp_path, here, index):
    made = shards([6, 5])
    for k, data in enumerate(made):
        (tmp_path / f"train-{k:06d}.tar").write_bytes(data)
    if index:
        (tmp_path / "index.json").write_bytes(index_of(made, [6, 5]))
    with pytest.raises(SpecError, match=r"2 shards( with 11 samples)?, which are read while") as caught:
        datastage.read(tmp_path)
    assert ("11 samples" in str(caught.value)) == index
    assert "datastage.loaders(" in str(caught.value).splitlines()[-2] + str(caught.value).splitlines()[-1]


def class_folders(folder):
    for i, kind in enumerate(("cat", "dog")):
        (folder / kind).mkdir()
        for n in range(6):
            (folder / kind / f"{n}.png").write_bytes(picture(6 * i + n))


def test_class_folders_and_a_shard_beside_them_are_not_chosen_between_in_silence(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "more.tar").write_bytes(tar_of(labelled(range(9))))
    with pytest.raises(SpecError, match=r"cat, dog, ...\), and beside them more.tar with samples") as caught:
        loaders(tmp_path)
    step = str(caught.value).splitlines()[-1]
    assert sorted(given(eval(step[step.index("datastage.") :].rpartition(",")[0]).train)) != []
    (tmp_path / "more.tar").unlink()
    (tmp_path / "dog").rename(tmp_path / "docs")
    (tmp_path / "more.tar").write_bytes(tar_of(labelled(range(9))))
    assert sorted(given(loaders(tmp_path, test=0).train)) == list(range(9))


@pytest.mark.parametrize("beside", [("assets", "figures"), ("previews/cat", "previews/dog")])
@pytest.mark.parametrize("each", [1, 3])
def test_several_shards_that_number_themselves_are_shards_whatever_lies_beside(tmp_path, beside, each):
    write(tmp_path, [5, 5, 5])
    (tmp_path / "test-000000.tar").write_bytes(tar_of(labelled(range(15, 20))))
    for name in beside:
        (tmp_path / name).mkdir(parents=True)
        for i in range(each):
            (tmp_path / name / f"{i}.png").write_bytes(picture(i))
    said = Notes()
    found = loaders(tmp_path, progress=said)
    assert (sorted(given(found.train)), sorted(given(found.test))) == (list(range(15)), list(range(15, 20)))
    left = [line for line in said.lines if line.startswith("Left out")]
    assert left == [f"Left out: the pictures in folders beside the shards: {beside[0]}, {beside[1]}, ..."]


@pytest.mark.parametrize("names", [("more", "rest"), ("test-0",), ("more", "test-0"), ("a", "b,c")])
def test_the_step_of_the_question_keeps_all_shards_and_never_the_test_shard_alone(tmp_path, names):
    class_folders(tmp_path)
    for i, name in enumerate(names):
        (tmp_path / f"{name}.tar").write_bytes(tar_of(labelled(range(9 * i, 9 * i + 9))))
    with pytest.raises(SpecError, match="which of them is trained on, only you know") as caught:
        loaders(tmp_path)
    step = str(caught.value).splitlines()[-1].strip()
    if names in (("test-0",), ("a", "b,c")):
        assert step == f"Next: move {', '.join(f'{name}.tar' for name in names)} elsewhere."
        return
    found = loaders(eval(step[step.index("(") + 1 : step.rindex(", batch_size")]), test=None)
    assert sorted(sum((given(part) for part in (found.train, found.test)), [])) == list(range(18))


@pytest.mark.parametrize("kind", ["compressed", "damaged", "of class folders"])
def test_a_tar_beside_class_folders_that_is_no_shard_is_left_aside_and_named(tmp_path, kind):
    import gzip

    class_folders(tmp_path)
    made = tar_of([("cat/1", {"png": picture(1)})])
    made = {"compressed": gzip.compress(made), "damaged": b"no tar" * 1000, "of class folders": made}[kind]
    (tmp_path / "backup.tar").write_bytes(made)
    said = Notes()
    found = loaders(tmp_path, progress=said)
    assert (found.classes, found.train.n_samples) == (("cat", "dog"), 11)
    assert any(line.endswith("1 archive beside the pictures: backup.tar") for line in said.lines)


def test_samples_counted_from_the_end_are_those_of_the_last_shard(tmp_path):
    samples = loaders(write(tmp_path, [4, 3], index=True), test=0, shuffle=False).train.dataset
    for i in range(-7, 0):
        picture_at, label = samples[i]
        assert label == samples[i + 7][1] == i + 7
        assert (picture_at == samples[i + 7][0]).all()


@pytest.mark.parametrize("name", ["zz.tar", "zz.zip", "zz.csv", "zz.jpg", "index.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_is_passed_over_and_named_whatever_it_is_called(tmp_path, kind, name):
    folders, shards = tmp_path / "folders", tmp_path / "shards"
    folders.mkdir()
    class_folders(folders)
    write(shards, [5, 7])
    for folder in (folders, shards):
        if kind == "link":
            (folder / name).symlink_to(tmp_path / "gone")
        else:
            os.mkfifo(folder / name)
    said = Notes()
    assert loaders(folders, progress=said, test=0).train.n_samples == 12
    what = {"link": "links that lead nowhere: 1", "pipe": "devices, pipes and sockets: 1"}[kind]
    assert any(line.endswith(what) for line in said.lines), said.lines
    assert sorted(given(loaders(shards, progress=said, test=0).train)) == list(range(12))
    assert ("Left out: zz.tar: no file, or one that may not be read" in said.lines) is (name == "zz.tar")


def test_a_shard_alone_has_the_classes_that_the_index_beside_it_names(tmp_path):
    write(tmp_path, [5, 7], index=True)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "classes": [f"kind {n}" for n in range(12)]}))
    found = loaders(tmp_path / "train-000000.tar", test=0)
    assert (found.classes[:2], found.train.n_samples) == (("kind 0", "kind 1"), 5)


def test_of_an_empty_share_a_larger_one_than_the_given_is_advised(tmp_path):
    said = Notes()
    found = loaders(write(tmp_path, [3]), test=0, val=0.001, progress=said)
    assert list(found.val) == []
    assert any("val is empty" in line and line.endswith("a larger one, as val=0.002, may do") for line in said.lines)
