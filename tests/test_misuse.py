"""A call that does not fit is answered with the argument that was meant."""

import ast
import functools
import inspect
import io
import os
import re
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import datastage
from datastage import api, cli
from datastage.errors import DatastageError, SpecError, StorageError
from datastage.misuse import possible, taken_apart
from tests.made_data import photos, tarred, zipped


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("batchsize", "batch_size"),
        ("bs", "batch_size"),
        ("image_size", "size"),
        ("transforms", "transform"),
        ("val_split", "val"),
        ("agument", "augment"),
    ],
)
def test_an_argument_that_is_misspelt_is_offered(written, meant):
    with pytest.raises(SpecError, match=f"loaders.. has no argument {written}=") as caught:
        datastage.loaders("cifar10", **{written: 32})

    assert caught.value.remedy[-1] == f"Next: write {meant}= in its place."


def test_an_argument_like_none_lists_those_that_there_are():
    with pytest.raises(SpecError) as caught:
        datastage.preview("x.zip", colour="red")

    assert caught.value.remedy[-1] == "Next: its arguments are data, n, labels, out."


def test_the_batch_size_may_stand_second():
    np = pytest.importorskip("numpy")
    pytest.importorskip("torch")
    arrays = (np.zeros((8, 4, 4, 3), np.uint8), np.arange(8))

    made = datastage.loaders(arrays, 4, device="cpu", progress=False)

    assert made.train.batch_size == 4


def test_a_batch_size_that_is_missing_is_asked_for():
    with pytest.raises(SpecError, match="loaders.. needs batch_size") as caught:
        datastage.loaders("cifar10")

    assert caught.value.remedy[-1] == "Next: add batch_size=64."


def test_more_arguments_than_have_no_name_say_that_the_others_are_named():
    with pytest.raises(SpecError, match="takes one argument without a name .spec., and 2 were given"):
        datastage.stage("./x.zip", "root")


def test_an_argument_that_is_given_twice_is_said():
    with pytest.raises(SpecError, match="got spec twice"):
        datastage.stage("./x.zip", spec="y")


def test_a_type_error_from_inside_stays_one():
    def verb(path):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        api._answered(verb)("x")


def test_the_signatures_are_those_that_are_written():
    assert list(inspect.signature(datastage.loaders).parameters)[:2] == ["data", "batch_size"]
    assert datastage.stage.__doc__.startswith("Put a dataset")


# --- what errors advise

VERBS = {name: verb for name in datastage.__all__ if inspect.isfunction(verb := getattr(datastage, name))}
OF_DATA = ["bench", "loaders", "pack", "preview", "read", "stage", "summary"]


def refused_options(step, verb):
    """Return the options that a step names and the verb does not take, each with the verb that should take it."""
    named = [
        (verb, name) for name in re.findall(r"(?<![^\s(`])([a-z_]+)=", re.sub(r"\w\((?:[^()]|\([^()]*\))*\)", "", step))
    ]
    for call in re.findall(r"datastage\.\w+\((?:[^()]|\([^()]*\))*\)", step):
        made = ast.parse(call, mode="eval").body
        named += [(made.func.attr, option.arg) for option in made.keywords]
    return [(verb, name) for verb, name in named if name not in inspect.signature(VERBS[verb]).parameters]


def root_that_is_a_file(here, monkeypatch):
    photos(here / "pets", "cat", "dog")
    (here / "file").write_text("mine")
    monkeypatch.setenv("DATASTAGE_ROOT", str(here / "file"))
    (here / "pets.tar.gz").write_bytes(tarred({f"{kind}/1.png": b"x" for kind in ("cat", "dog")}))
    return "./pets.tar.gz"


def folder_in_the_way(here, monkeypatch):
    (here / "pets.tar.gz").write_bytes(tarred({"cat/1.png": b"x"}))
    for _ in range(2):  # the second has a longer name
        staged = datastage.stage("./pets.tar.gz", progress=False)
        (staged.path / ".datastage.json").write_text("{}")
    return "./pets.tar.gz"


def damaged(here, monkeypatch):
    (here / "pets.tar.gz").write_bytes(tarred({"cat/1.png": bytes(range(256)) * 99})[:-90])
    return "./pets.tar.gz"


def locked(here, monkeypatch):
    data = bytearray(zipped({"cat/1.png": b"x" * 99}))
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at] |= 1
    (here / "pets.zip").write_bytes(data)
    return "./pets.zip"


@pytest.mark.parametrize("fault", [root_that_is_a_file, folder_in_the_way, damaged, locked])
@pytest.mark.parametrize("verb", OF_DATA)
def test_an_option_that_an_error_advises_is_one_of_the_verb_that_was_called(verb, fault, here, monkeypatch):
    pytest.importorskip("torch")
    data = fault(here, monkeypatch)
    needed = {"batch_size": 4, "to": here / "to"}
    wanted = {name: needed[name] for name in inspect.signature(VERBS[verb]).parameters if name in needed}

    steps = ()
    try:
        VERBS[verb](data, **wanted)
    except DatastageError as error:
        steps = error.remedy

    assert [refused for step in steps for refused in refused_options(step, verb)] == []
    assert steps or verb == "summary", "which shows what lies there"
    if verb == "stage" and fault is not damaged:
        assert re.search("(root|name|password)=", "".join(steps)), "else there was nothing to look at"


@functools.cache
def texts_that_name_an_option():
    """Return all texts of the library that name an option; parsing it takes a second or two, and is done once."""
    found = []
    for path in Path(datastage.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value if isinstance(part, ast.Constant) else "7" for part in node.values)
            else:
                text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if re.search(r"(?<![^\s(`])[a-z_]+=", text) and "\n" not in text:
                found.append(text)
    return found


@pytest.mark.parametrize(
    "verb", ["bench", "extract", "loaders", "pack", "preview", "read", "stage", "summary", "verify"]
)
def test_an_option_of_another_verb_is_advised_as_one_of_that_verb(verb):
    known = {name for name in ("stage", "loaders") for name in inspect.signature(VERBS[name]).parameters}
    signature, others = inspect.signature(VERBS[verb]), (datastage.stage, datastage.loaders)
    for text in texts_that_name_an_option():
        step = possible(text, signature, others)

        bare = re.sub(r"\w\((?:[^()]|\([^()]*\))*\)", "", step)
        options = {*re.findall(r"(?<![^\s(`])([a-z_]+)=", bare)} & known
        assert options <= {*signature.parameters} or re.search(r"\bstage (it|the)\b", text), (text, step)
        assert possible(step, signature, others) == step


@pytest.mark.parametrize("verb", ["bench", "pack", "read", "stage"])
def test_a_line_of_python_stays_as_it_is_however_deep_its_calls_are(verb):
    deep = "(x, table['y'].astype(int(len((1,)))).to_numpy())"
    line = f"Next: train, test = datastage.loaders({deep}, batch_size=64, test=0.1)"

    assert possible(line, inspect.signature(VERBS[verb]), (datastage.stage, datastage.loaders)) == line


def test_an_option_of_another_verb_stands_in_its_call():
    step = "Next: choose another name, such as name='pets-2', or another folder with root=."

    said = [
        possible(step, inspect.signature(VERBS[name]), (datastage.stage,)) for name in ("stage", "loaders", "extract")
    ]

    assert said[0] == step
    assert said[1].endswith(
        "such as datastage.stage(..., name='pets-2'), or another folder with datastage.stage(..., root=...)."
    )
    assert said[2].endswith("or another folder.")


LOCKED = dict.fromkeys(("password", "encoding"), 1234)


@pytest.mark.parametrize(
    ("verb", "given", "options"),
    [
        *((verb, given, {name: value}) for name, value in LOCKED.items() for verb, given in (
            ("stage", ["a.zip"]), ("extract", ["a.zip", "out"]), ("members", ["a.zip"]))),
        *(("stage", ["a.zip"], options) for options in (
            {"wait": "3"}, {"name": 5}, {"members": [5]}, {"members": 5}, {"members": b"a"}, {"fallbacks": 5},
            {"fallbacks": [None]}, {"expect": 5}, {"root": 5}, {"link": 5}, {"save_to": b"x"}, {"progress": None},
            {"progress": 3}, {"root": ""})),
        ("extract", [None, "out"], {}),
        ("extract", ["a.zip", ""], {}),
        ("verify", [None], {}),
        ("verify", [""], {}),
        ("verify", ["a"], {"password": b"x"}),
        ("zip_folder", [None, "a.zip"], {}),
        ("zip_folder", ["a", 5], {}),
        ("clean", [None], {}),
        ("clean", [[Path("a")]], {}),
        ("clean", [], {"root": 5}),
        ("check_catalog", [["b1"]], {}),
        ("catalog_line", [None], {}),
        ("register", ["b", ["https://h/a.zip"]], {}),
        ("register", ["b", "https://h/a.zip"], {"title": 5}),
        ("read", [None], {}),
        ("read", [""], {}),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_answered_with_what_the_option_takes(here, verb, given, options):
    with zipfile.ZipFile(here / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(SpecError) as caught:
        getattr(datastage, verb)(*given, **options)
    named = next(iter(options), next(iter(inspect.signature(getattr(datastage, verb)).parameters)))
    assert named in str(caught.value) or given[-1] == "" or verb in ("register", "catalog_line", "zip_folder", "read")
    assert caught.value.remedy[-1].startswith("Next: ")
    assert os.listdir() == ["a.zip"]


def test_lists_of_any_kind_are_taken_and_what_can_be_read_once_is_read_once(here):
    with zipfile.ZipFile(here / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    kinds = (
        tuple,
        set,
        iter,
        np.array,
        lambda names: (name for name in names),
        dict.fromkeys,
        lambda names: dict.fromkeys(names).keys(),
    )
    for number, kind in enumerate(kinds):
        for verb, to in (
            ("stage", {"name": f"s{number}", "fallbacks": kind(["b.zip"])}),
            ("extract", {"to": f"{number}"}),
        ):
            staged = getattr(datastage, verb)("a.zip", members=kind(["a.txt"]), progress=False, **to)
            assert (staged / "a.txt").is_file()
    for wait in (np.int64(0), None, Decimal(0), np.bool_(False)):
        assert datastage.stage("a.zip", name="n", fallbacks=None, wait=wait, progress=False).exists()


@pytest.mark.parametrize(
    ("call", "step"),
    [
        (lambda: datastage.pack(([1], [2]), "out"), "name a folder or a zip."),
        (lambda: datastage.read(([1], [2])), "name a folder or a zip."),
        (lambda: datastage.check_catalog(["iris"]), "give them one by one, each in quotes."),
        (lambda: datastage.verify(None), "name it. Is a variable not set?"),
        (lambda: datastage.clean(None), "leave it out. Is a variable not set?"),
        (lambda: datastage.clean([Path("a")]), "give text, or a list of texts."),
        (lambda: datastage.members(io.BytesIO()), "give text, or a path."),
        (lambda: datastage.stage("a.zip", password=1234), "write it in quotes."),
        (lambda: datastage.stage("a.zip", wait="3"), "write it without quotes."),
        (lambda: datastage.stage("a.zip", link="file:///x%20y"), "link='/x y'."),
    ],
)
def test_a_value_of_another_type_is_answered_with_a_step_that_fits_it(here, call, step):
    with pytest.raises(SpecError) as caught:
        call()
    assert caught.value.remedy[-1] == f"Next: {step}"


def test_a_licence_that_nobody_knows_may_be_none(here):
    datastage.register("birds_of_none", "./a.zip", licence=None)


# --- the command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stag", "cifar10"], "Next: did you mean  datastage stage ?"),
        (["catalogue"], "Next: did you mean  datastage catalog ?"),
        (["frobnicate"], "Next: datastage --help lists what there is."),
        (["stage", "cifar10", "--rot", "x"], "Next: did you mean --root ?"),
        (["stage", "cifar10", "--zzzz"], "Next: datastage stage --help"),
    ],
)
def test_a_verb_or_an_option_that_is_misspelt_is_offered(words, said, capsys):
    assert cli.main(words) == SpecError.exit_code

    assert capsys.readouterr().err.splitlines()[-1].strip() == said


@pytest.mark.parametrize(
    ("line", "has"),
    [
        (
            "extract multi.zip --members a* out",
            {"archive": Path("multi.zip"), "folder": Path("out"), "members": ["a*"]},
        ),
        ("extract - --nested out", {"archive": Path("-"), "folder": Path("out"), "nested": True}),
        ("extract --nested multi.zip", {"archive": Path("multi.zip"), "folder": None, "nested": True}),
        ("catalog check --catalog c.txt birds", {"action": "check", "what": ["birds"], "catalog": Path("c.txt")}),
        ("catalog add --quiet photos.zip", {"action": "add", "what": ["photos.zip"], "quiet": True}),
        ("stage a --name x b", {"specs": ["a", "b"], "name": "x"}),
        ("clean a --dry-run b", {"names": ["a", "b"], "dry_run": True}),
        ("pack --to x photos", {"data": "photos", "to": "x"}),
    ],
)
def test_options_may_stand_between_names(line, has):
    flags = {name: row[2] for name, row in cli._VERBS.items()}
    options = taken_apart(line.split(), cli._parser(), flags)
    assert options.items() >= {"verb": line.split()[0], "json": False, **has}.items()


@pytest.mark.parametrize("line", ["extract a.zip out more", "zip a --quiet b c", "extract a.zip --nosuch x out"])
def test_names_too_many_are_refused_wherever_options_stand(line, capsys):
    assert cli.main(line.split()) == SpecError.exit_code
    assert "does not know" in capsys.readouterr().err


def test_the_command_alone_shows_its_help(capsys):
    assert cli.main([]) == SpecError.exit_code

    assert "datastage stage cifar10" in capsys.readouterr().err


def test_a_verb_of_the_command_without_the_flag_is_told_which_has_it(here, monkeypatch, capsys):
    data = root_that_is_a_file(here, monkeypatch)

    assert cli.main(["read", data]) == StorageError.exit_code

    assert "choose another folder with datastage stage ... --root." in capsys.readouterr().err


@pytest.mark.parametrize("call", [lambda two: datastage.stage(two), lambda two: datastage.register("birds", two)])
def test_several_places_are_answered_with_the_option_for_the_others(call):
    with pytest.raises(SpecError, match="one text, and a list of 2 was given") as told:
        call(["https://host.example/a.zip", "./a.zip"])
    assert "fallbacks=" in told.value.remedy[-1]
