from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from datastage import datasets
from datastage.datasets import Entry, File
from datastage.errors import SpecError

# The entries whose files are known one by one; tests/test_parts.py has those known by an archive.
LISTED = [entry for entry in datasets.catalog() if isinstance(entry, datasets.Entry)]


@pytest.fixture
def table(monkeypatch):
    """A catalog of the test's own, put back afterwards."""
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))


def mine(name: str = "mine", path: str = "a/b.bin") -> Entry:
    return Entry(name=name, title="Mine", files=(File(path, 3, None),), read=print)


def test_the_catalog_has_the_six():
    names = {entry.name for entry in datasets.catalog()}
    assert names >= {"cifar10", "cifar100", "mnist", "fashion_mnist", "digits", "iris"}


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("cifar-10", "cifar10"),
        ("CIFAR10", "cifar10"),
        ("cifar_100", "cifar100"),
        ("fashionmnist", "fashion_mnist"),
        ("fashion-mnist", "fashion_mnist"),
        ("mnsit", "mnist"),
        ("irsi", "iris"),
        ("digit", "digits"),
    ],
)
def test_a_near_name_is_suggested(word, near):
    with pytest.raises(SpecError, match=f"Did you mean {near}"):
        datasets.get(word)


def test_a_word_far_from_all_lists_the_names():
    with pytest.raises(
        SpecError, match=f"datastage catalog lists the {len(datasets.catalog())} that have a name"
    ) as caught:
        datasets.get("quux")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry.name)
def test_every_entry_has_its_facts(entry):
    assert entry.files
    assert entry.downloads
    assert entry.licence
    assert entry.citation
    assert entry.homepage.startswith("http")
    assert len(entry.mean) == len(entry.std) == entry.shape[-1]
    assert set(entry.splits) == {"train", "test"}
    assert entry.needed
    assert entry.search_words
    assert entry.shows


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry.name)
def test_every_digest_and_size_is_well_formed(entry):
    for file in entry.files:
        assert file.size > 0
        assert file.md5 is not None
        assert len(file.md5) == 32
        assert set(file.md5) <= set("0123456789abcdef")
    for download in entry.downloads:
        assert (download.md5 is None) == (download.size is None)
        assert all(url.startswith(("https://", "http://")) for url in download.urls)


def test_an_entry_crosses_processes():
    assert pickle.loads(pickle.dumps(datasets.get("cifar10"))).files == datasets.get("cifar10").files


def test_the_publisher_of_cifar_is_asked_last():
    for name in ("cifar10", "cifar100"):
        assert "toronto.edu" in datasets.get(name).downloads[0].urls[-1]


def test_augmentation_is_that_of_the_design():
    assert {entry.name: entry.augment for entry in LISTED} == {
        "cifar10": {"crop": 4, "flip": True},
        "cifar100": {"crop": 4, "flip": True},
        "mnist": None,
        "fashion_mnist": {"crop": 2, "flip": True},
        "digits": None,
        "iris": None,
    }


def test_a_registered_entry_is_found(table):
    datasets.register(mine())
    assert datasets.get("mine").title == "Mine"


def test_registering_the_same_entry_twice_is_fine(table):
    entry = mine()
    datasets.register(entry)
    datasets.register(entry)
    assert datasets.catalog()[-1] is entry


def test_an_existing_name_is_not_replaced(table):
    with pytest.raises(SpecError, match="taken by CIFAR-10"):
        datasets.register(replace(mine(), name="cifar10"))
    assert datasets.get("cifar10").title == "CIFAR-10"


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "1st", "with space", "drive:x"])
def test_a_name_that_is_no_word_is_refused(name, table):
    with pytest.raises(SpecError, match="cannot be the name"):
        datasets.register(mine(name))


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a\\b", "."])
def test_a_file_that_would_leave_the_folder_is_refused(path, table):
    with pytest.raises(SpecError, match="would not lie in its folder"):
        datasets.register(mine(path=path))


def test_what_is_no_entry_is_refused(table):
    with pytest.raises(SpecError, match="takes an Entry, not dict"):
        datasets.register({"name": "x"})


def test_a_courses_catalog_is_read(table, tmp_path):
    (tmp_path / "ours.py").write_text(
        "from datastage.datasets import Entry, File, register\n"
        "def read(path, split): ...\n"
        "one = Entry(name='one', title='One', files=(File('x', 1),), read=read)\n"
        "several = [Entry(name='two', title='Two', files=(File('x', 1),), read=read)]\n"
        "register(Entry(name='three', title='Three', files=(File('x', 1),), read=read))\n"
    )
    added = datasets.load_catalog(tmp_path / "ours.py")
    assert sorted(entry.name for entry in added) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "holds no entry"),
        ("x = 1\n1/0\n", r"ZeroDivisionError: division by zero \(line 2\)"),
        ("def\n", r"SyntaxError: .*\(line 1\)"),
    ],
)
def test_a_catalog_that_does_not_work_says_where(text, said, table, tmp_path):
    (tmp_path / "ours.py").write_text(text)
    with pytest.raises(SpecError, match=said):
        datasets.load_catalog(tmp_path / "ours.py")


def test_a_catalog_that_is_not_there_is_said(table, tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        datasets.load_catalog(tmp_path / "absent.py")


def test_the_catalog_needs_neither_numpy_nor_sklearn():
    code = "import sys, datastage.datasets as d; d.catalog(); print({'numpy', 'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry.name)
def test_what_a_person_is_told_of_an_entry_fits_its_line(entry):
    shows = f"    Press + beside a result whose files are called {entry.shows}"
    texts = [entry.needed, *(text for like in entry.lookalikes for text in (like.needed, like.found))]
    assert max(map(len, [shows, *(f"   needed   {text}" for text in texts)])) <= 88


# What torchvision's and other much used trainers publish for these sets, to two digits: the order must not be mixed up.
PUBLISHED = {
    "cifar10": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
    "cifar100": ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.286,), (0.353,)),
    "kmnist": ((0.1918,), (0.3483,)),
    "emnist": ((0.1751,), (0.3332,)),
    "qmnist": ((0.1307,), (0.3081,)),
    "usps": ((0.2469,), (0.2989,)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.198, 0.201, 0.197)),
    "stl10": ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
    "flowers102": ((0.433, 0.3819, 0.2964), (0.2588, 0.2179, 0.2402)),
    "eurosat": ((0.3444, 0.3803, 0.4078), (0.2037, 0.1366, 0.1148)),
    "gtsrb": ((0.3403, 0.3121, 0.3214), (0.2724, 0.2608, 0.2669)),
    "tiny_imagenet": ((0.4802, 0.4481, 0.3975), (0.277, 0.2691, 0.2821)),
    **dict.fromkeys(("imagenette", "imagewoof", "hymenoptera"), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_means_and_deviations_are_the_published_ones(name):
    entry = datasets.get(name)
    mean, deviation = PUBLISHED[name]
    assert entry.mean == pytest.approx(mean, abs=6e-4)
    assert entry.std == pytest.approx(deviation, abs=6e-4)


def test_an_entry_with_names_in_place_of_files_is_refused_in_words(table):
    with pytest.raises(SpecError, match="where a File is needed"):
        datasets.register(Entry(name="shapes", title="Shapes", files=("shapes.zip",), read=print))


def test_copies_are_said_to_be_forbidden_where_a_licence_or_terms_forbid_them():
    names = {entry.name for entry in datasets.ENTRIES if not getattr(entry, "mirror", True)}
    lens = {"movielens_small", "movielens_100k", "movielens_1m", "movielens_20m"}
    assert names == lens | {"dogs_vs_cats_redux", "tiny_imagenet", "celeba", "fgvc_aircraft", "places365_val"}
