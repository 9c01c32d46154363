"""The lines of code in the steps of errors: what watches them, and that those of `loaders` give batches."""

import shlex

import pytest

import datastage
from datastage import layouts
from datastage.errors import SpecError, name_data, on_screen
from tests.made_data import photos, picture, table_beside
from tests.next_lines import command_trouble, commands, pieces, trouble

pytest.importorskip("torch")
pytest.importorskip("PIL.Image")


def deep(folder):
    for area in ("amazon", "dslr"):
        photos(folder / "data" / area, "bike", "mug", n=4)
    return folder / "data"


def numbered(folder):
    for i in range(8):
        picture(folder / "scans" / f"{'ab'[i % 2]}_{i % 3}_{i}.png", seed=i)
    return folder / "scans"


ASKED = {
    "two columns": lambda f: table_beside(f / "two", "sex", "type", row=lambda i: f"{'mf'[i % 2]},{'ab'[i // 6]}"),
    "folders below folders": deep,
    "a lone test folder": lambda f: photos(f / "lone", "cat", "dog", "test"),
    "tags in a cell": lambda f: table_beside(f / "tags", "tags", row=lambda i: ("sun sea", "sun", "sea")[i % 3]),
}


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("kind", ASKED)
def test_each_line_that_an_error_offers_gives_batches(kind, as_text, here):
    data = ASKED[kind](here)
    data = f"./{data.relative_to(here)}" if as_text else data
    with pytest.raises(SpecError) as caught:
        datastage.loaders(data, batch_size=3, progress=False)

    offered = [code for code in pieces(caught.value.remedy) if "..." not in code]

    assert offered, caught.value
    for code in offered:
        assert "path" not in code.replace(str(data), ""), "what was given is named"
        assert "64" not in code.replace(str(data), ""), "and the size of the batches"
        x, _ = next(iter(eval(code, {"datastage": datastage}).train))
        assert len(x) <= 3


@pytest.mark.parametrize("suffix", ["txt", "wav"])
def test_the_lines_that_feed_whatever_there_is_run_as_printed(suffix, here):
    for i in range(12):
        (here / "odd" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (here / "odd" / "ab"[i % 2] / f"{i}.{suffix}").write_bytes(b"x" * i)
    with pytest.raises(SpecError) as caught:
        datastage.loaders("./odd", batch_size=3, progress=False)
    printed = "\n".join(line.removeprefix("  ") for line in on_screen(caught.value))

    names = {}
    exec(printed[printed.index("import ") :], names)

    numbers, labels = next(iter(names["loader"]))
    assert len(numbers) == len(labels) == 3


def test_what_was_staged_is_called_path(here):
    path = datastage.stage(ASKED["two columns"](here), progress=False)
    with pytest.raises(SpecError) as caught:
        datastage.loaders(path, batch_size=3, progress=False)

    (code,) = [code for code in pieces(caught.value.remedy)][:1]

    assert eval(code, {"datastage": datastage, "path": path}).classes == ("f", "m")


@pytest.mark.parametrize(
    "verb",
    [
        datastage.read,
        lambda data: datastage.pack(data, "./shards", progress=False),
        lambda data: datastage.bench(data, progress=False),
    ],
)
def test_every_verb_that_takes_data_names_it_as_it_was_given(verb, here):
    ASKED["two columns"](here)
    with pytest.raises(SpecError) as caught:
        verb("./two")

    offered = pieces(caught.value.remedy)

    assert offered
    assert all('("./two"' in code for code in offered)


def test_an_address_with_a_secret_is_not_written_out():
    error = SpecError("Two columns.", 'Next: datastage.loaders(path, labels="t.csv:sex", batch_size=64)')

    name_data(error, "https://ann:hunter2@host/x.zip?token=hunter2", 16)

    assert error.remedy == ('Next: the same line again with labels="t.csv:sex", batch_size=16',)


def test_a_part_that_was_named_stays_named_in_each_line(here):
    for name in ("train/amazon", "train/dslr", "hold/amazon", "hold/dslr"):
        photos(here / "data" / name, "bike", "mug", n=4)
    with pytest.raises(SpecError) as caught:
        datastage.loaders("./data", batch_size=3, test="hold", progress=False)

    offered = [code for code in pieces(caught.value.remedy) if "labels=" in code]

    assert offered
    for code in offered:
        assert len(eval(code, {"datastage": datastage}).train.dataset) == 16, code


def test_a_command_that_an_error_offers_is_written_for_the_shell(here):
    from datastage.runtime import current
    from datastage.sources.found import line_to_run

    line = line_to_run('drive:my $HOME "best" `photos`.zip', current()).removeprefix("Next:")

    assert shlex.split(line) == ["datastage", "stage", 'drive:my $HOME "best" `photos`.zip']


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("Next: datastage.loaders(path, lables='x', batch_size=64)", "takes no lables"),
        ("Next: datastage.load(path)", "there is no load"),
        ("Next: datastage.loaders(path / 'nowhere', batch_size=64)", "Error"),
        ("Next: datastage.loaders(path, batch_size=64", ""),
        ("Next: datastage.loaders(path, batch_size=64)", None),
        ('Next: datastage.loaders(path, labels="COLUMN", batch_size=64)', None),
    ],
)
def test_the_watch_over_steps_sees_what_does_not_run(step, wrong, tmp_path):
    data = photos(tmp_path / "p", "a", "b")

    (code,) = pieces([step])
    found = trouble(code, {"path": data}, layouts.read)

    assert (found == "") if wrong is None else (found and wrong in found)


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("Next: datastage stage ./a.zip --name 'my data'", False),
        ("Next: datastage stag ./a.zip", True),
        ("Next: datastage stage ./a.zip --rot data", True),
        ("Next: datastage extract 'a.zip", True),
        ("Next: datastage pack --help", False),
        ("Next: !datastage zip drive:photos drive:photos.zip", False),
    ],
)
def test_the_watch_over_steps_sees_what_is_no_command(step, wrong, capsys):
    (line,) = commands([step])

    assert bool(command_trouble(line)) == wrong


def test_a_sentence_that_begins_with_a_command_is_none():
    assert not [*commands(["Next: datastage clean --dry-run shows what could be removed; root= chooses another disk."])]
