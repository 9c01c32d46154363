"""The command: paths on standard output, all else on standard error, and exit codes that a Makefile can trust."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import make_dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import datastage
from datastage import cli
from datastage.staged import Staged, Verification

pytestmark = pytest.mark.usefixtures("here")

VERBS = tuple(cli._VERBS)


def make_zip(path, files=None):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (files or {"cat/1.txt": b"meow"}).items():
            archive.writestr(name, data)
    return path


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(capsys, verb):
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0
    assert f"example: datastage {verb}" in out


def test_stage_prints_the_path_alone_on_standard_output(capsys, here):
    make_zip(here / "pets.zip")
    code, out, err = run(capsys, "stage", "./pets.zip")
    assert code == 0
    assert (Path(out.strip()) / "cat" / "1.txt").is_file()
    assert out.count("\n") == 1
    assert err


def test_quiet_says_nothing_but_the_path(capsys, here):
    make_zip(here / "pets.zip")
    code, out, err = run(capsys, "stage", "./pets.zip", "--quiet")
    assert (code, out.count("\n"), err) == (0, 1, "")


@pytest.mark.parametrize("output", ["a pipe", "/dev/full"])
def test_the_version_is_said_without_importing_what_it_does_not_need(output):
    """Nor is a full disk passed over."""
    words = [sys.executable, "-X", "importtime", "-m", "datastage", "--version"]
    if output == "a pipe":
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"datastage {datastage.__version__}\n")
        assert "datastage.cli" not in done.stderr
    elif os.path.exists(output):
        with open(output, "w") as full:
            environment = {**os.environ, "PYTHONUNBUFFERED": ""}
            assert subprocess.run(words, stdout=full, stderr=subprocess.DEVNULL, env=environment).returncode == 5


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes descriptors otherwise")
@pytest.mark.parametrize("words", ["stage ./pets.zip", "stage ./pets.zip --json", "catalog", "extract --list pets.zip"])
def test_an_output_that_is_closed_is_an_error_without_a_traceback(words, here):
    make_zip(here / "pets.zip")
    line = f'"$0" -m datastage {words} --quiet >&-'
    done = subprocess.run(["sh", "-c", line, sys.executable], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.partition("\n")[0]) == (5, "The output could not be written: it is closed.")


def test_two_datasets_give_two_paths(capsys, here):
    make_zip(here / "a.zip")
    make_zip(here / "b.zip")
    code, out, _ = run(capsys, "stage", "./a.zip", "./b.zip", "--quiet")
    assert (code, len(out.splitlines())) == (0, 2)


def test_a_misspelt_second_dataset_is_said_before_the_first_is_staged(capsys, here):
    make_zip(here / "a.zip")
    code, out, err = run(capsys, "stage", "./a.zip", "cifr10", "--quiet")
    assert (code, out) == (2, "")
    assert "cifar10" in err


def test_verify_counts_one_file_as_a_person_does(capsys, here):
    make_zip(here / "a.zip")
    folder = run(capsys, "stage", "./a.zip", "--quiet")[1].strip()
    assert run(capsys, "verify", folder)[2] == "1 file is as it was staged.\n"


def test_json_prints_the_receipt(capsys, here):
    make_zip(here / "pets.zip")
    _, out, _ = run(capsys, "stage", "./pets.zip", "--json", "--quiet")
    assert json.loads(out)[0]["receipt"]["n_files"] == 1


@pytest.mark.parametrize("name", ["key=5/a.zip", "x_token=7/a.zip", "sk-learn-digits-dataset.zip", "my key=5/a.csv"])
def test_the_paths_of_json_and_of_the_next_step_are_those_on_the_disk(capsys, here, name):
    (here / name).parent.mkdir(exist_ok=True)
    make_zip(here / name)
    near = (here / name).with_suffix(".tar")
    for verb, *more in (["stage", "--copy"], ["stage", "--no-unpack"], ["extract", "out"]):
        said = json.loads(run(capsys, verb, f"./{name}", *more, "--json", "--quiet")[1])
        said = said if isinstance(said, dict) else said[0]
        assert Path(said["path"]).exists()
        assert Path(said["receipt"]["folder"]).exists()
        assert Path(said["receipt"]["spec"]).exists()
    (here / "out" / "cat" / "1.txt").write_text("PURR")
    assert json.loads(run(capsys, "verify", "out", "--repair", "--json")[1])["repaired"] == ["cat/1.txt"]
    for asked in (near, near.relative_to(here)) if "/" in name and " " not in name else ():
        offered = run(capsys, "stage", str(asked), "--quiet")[2].split()[-1]
        assert Path(offered).samefile(here / name)


def test_json_prints_an_error_with_its_remedy(capsys, here):
    code, out, _ = run(capsys, "stage", "./no-such.zip", "--json", "--quiet")
    said = json.loads(out)
    assert (code, said["exit"], said["error"]) == (3, 3, "UnavailableError")
    assert said["remedy"] or "\n" in said["message"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["stage"], 2),
        (["no-such-verb"], 2),
        (["stage", "cifar_10"], 2),
        (["stage", "what is this"], 2),
        (["stage", "./no-such.zip"], 3),
        (["stage", "./page.zip"], 4),
        (["extract", "./page.zip", "out"], 4),
        (["extract", "./no-such.zip", "out"], 3),
        (["extract", "./pets.zip"], 2),
        (["extract", "./pets.zip", "full/mine.txt"], 5),
        (["stage", "./pets.zip", "--root", "page.zip"], 5),
        (["stage", "./pets.zip", "./page.zip", "--name", "x"], 2),
        (["stage", "./pets.zip", "./page.zip", "--expect", f"md5:{32 * '0'}"], 2),
        (["stage", "./pets.zip", "./page.zip", "--fallback", "./x.zip"], 2),
        (["stage", "./pets.zip", "--password", "x", "--password-file", "page.zip"], 2),
        (["verify", "full"], 2),
        (["cell", "drvie:x.zip"], 2),
    ],
)
def test_exit_codes(capsys, here, arguments, code):
    make_zip(here / "pets.zip")
    (here / "page.zip").write_text("<!DOCTYPE html><html></html>")
    (here / "full").mkdir()
    (here / "full" / "mine.txt").write_text("mine")
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (code, "")
    assert len(err.strip().splitlines()) >= 2, "what happened, and then what to do"
    assert "Traceback" not in err


def stand_in(monkeypatch, verb, result):
    """Put something in the place of a public function that notes what the command gives it, defaults and all."""
    given, takes = {}, inspect.signature(getattr(cli.api, verb))

    def noted(*positional, **options):
        bound = takes.bind(*positional, **options)
        bound.apply_defaults()
        given.update(bound.arguments)
        return result

    monkeypatch.setattr(cli.api, verb, noted)
    return given


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        (["--fallback", "./a.zip", "--fallback", "./b.zip"], "fallbacks", ["./a.zip", "./b.zip"]),
        (["--expect", "md5:0"], "expect", "md5:0"),
        (["--root", "data"], "root", Path("data")),
        (["--name", "pets"], "name", "pets"),
        (["--link", "."], "link", Path(".")),
        (["--members", "a/*", "--members", "b/*"], "members", ["a/*", "b/*"]),
        (["--unpack"], "unpack", True),
        (["--no-unpack"], "unpack", False),
        ([], "unpack", "auto"),
        (["--strip"], "strip", True),
        (["--no-strip"], "strip", False),
        ([], "strip", "auto"),
        (["--password", "hunter2"], "password", "hunter2"),
        (["--encoding", "cp850"], "encoding", "cp850"),
        (["--copy"], "copy", True),
        ([], "copy", False),
        (["--save-to", "drive:kept"], "save_to", "drive:kept"),
        (["--refresh"], "refresh", True),
        ([], "refresh", False),
        (["--wait", "1.5"], "wait", 1.5),
    ],
)
def test_an_option_of_stage_reaches_the_library(capsys, monkeypatch, words, option, value):
    given = stand_in(monkeypatch, "stage", Staged("a path", {}))
    assert run(capsys, "stage", "./pets.zip", *words)[0] == 0
    assert given[option] == value


@pytest.mark.parametrize(
    ("verb", "words", "option", "value"),
    [
        ("extract", ["--members", "a/*"], "members", ["a/*"]),
        ("extract", ["--strip"], "strip", True),
        ("extract", [], "strip", False),
        ("extract", ["--nested"], "nested", True),
        ("extract", [], "nested", False),
        ("extract", ["--password", "hunter2"], "password", "hunter2"),
        ("extract", ["--encoding", "gbk"], "encoding", "gbk"),
        ("members", ["--list", "--encoding", "gbk"], "encoding", "gbk"),
        ("members", ["--list", "--password", "hunter2"], "password", "hunter2"),
        ("clean", ["--older-than", "30d"], "older_than", "30d"),
        ("clean", ["--budget", "20GB"], "budget", "20GB"),
        ("clean", ["--root", "data"], "root", Path("data")),
        ("clean", ["pets", "birds"], "names", ["pets", "birds"]),
        ("verify", ["--adopt"], "adopt", True),
        ("clean", ["--dry-run"], "dry_run", True),
        ("clean", [], "dry_run", False),
        ("verify", ["--repair"], "repair", True),
        ("verify", [], "repair", False),
        ("verify", ["--repair", "--password", "hunter2"], "password", "hunter2"),
        ("bench", ["--batch-size", "7"], "batch_size", 7),
        ("bench", ["--size", "64"], "size", 64),
        ("bench", ["--labels", "train.csv:label"], "labels", "train.csv:label"),
        ("bench", ["--class", "dog", "--class", "cat"], "classes", ["dog", "cat"]),
        ("bench", ["--device", "cpu"], "device", "cpu"),
        ("cell", ["--wheel", "https://host.example/w.whl"], "wheel", "https://host.example/w.whl"),
        ("cell", ["--embed"], "embed", True),
        ("cell", [], "embed", False),
        ("cell", ["--catalog", "c.txt"], "catalog", Path("c.txt")),
        ("cell", ["--fallback", "./a.zip", "--fallback", "./b.zip"], "fallbacks", ["./a.zip", "./b.zip"]),
        ("cell", ["--save-to", "drive:kept"], "save_to", "drive:kept"),
        ("read", ["--labels", "train.csv:label"], "labels", "train.csv:label"),
        ("read", ["--class", "dog", "--class", "cat"], "classes", ["dog", "cat"]),
        ("read", ["--val", "dev"], "val", "dev"),
        ("read", ["--test", "held"], "test", "held"),
        ("read", ["--test", "0"], "test", 0),
        ("pack", ["--shards", "1MB"], "shards", "1MB"),
        ("pack", ["--size", "64"], "size", 64),
        ("pack", ["--engine", "ray"], "engine", "ray"),
        ("pack", ["--labels", "train.csv:label"], "labels", "train.csv:label"),
        ("pack", ["--class", "dog", "--class", "cat"], "classes", ["dog", "cat"]),
        ("pack", ["--val", "0.2"], "val", 0.2),
        ("pack", ["--test", "held"], "test", "held"),
    ],
)
def test_an_option_of_another_verb_reaches_the_library(capsys, monkeypatch, verb, words, option, value):
    results = {"verify": Verification(1), "cell": "some text", "extract": Staged("out", {})}
    results["read"] = SimpleNamespace(as_dict=dict, lines=list)
    results["pack"] = make_dataclass("Packed", ["to", "samples"])("out", 1)
    given = stand_in(monkeypatch, verb, results.get(verb, ()))
    positional = {"extract": ["a.zip", "out"], "members": ["a.zip"], "clean": [], "pack": ["x", "--to", "out"]}
    positional = positional.get(verb, ["x"])
    code, _, err = run(capsys, "extract" if verb == "members" else verb, *positional, *words)
    assert (code, given[option]) == (0, value), err


def test_a_mistyped_line_does_not_print_the_password_in_it(capsys):
    code, out, err = run(
        capsys, "stage", "./x.zip", "--fall", "back", "--nonsense=https://me:hunter2@h.example/a?t=hunter2"
    )
    assert code == 2
    assert "hunter2" not in out + err


def test_a_password_file_of_windows_ends_before_its_line_break(capsys, monkeypatch, here):
    given = stand_in(monkeypatch, "stage", Staged("a path", {}))
    (here / "secret").write_bytes(b"hunter2\r\nsecond line\r\n")
    run(capsys, "stage", "./pets.zip", "--password-file", "secret")
    assert given["password"] == "hunter2"


def test_clean_dry_run_removes_nothing(capsys, here, tmp_path):
    make_zip(here / "pets.zip")
    folder = Path(run(capsys, "stage", "./pets.zip", "--quiet")[1].strip())
    code, out, _ = run(capsys, "clean", "--budget", "0", "--dry-run")
    assert (code, str(folder) in out, folder.is_dir()) == (0, True, True)
    run(capsys, "clean", "--budget", "0")
    assert not folder.exists()


def test_extract_list_names_every_member(capsys, here):
    make_zip(here / "pets.zip")
    code, out, _ = run(capsys, "extract", "./pets.zip", "--list")
    assert (code, out.split()) == (0, ["4", "cat/1.txt"])


def test_a_name_with_an_escape_sequence_is_not_printed_raw(capsys, here):
    make_zip(here / "pets.zip", {"\x1b[31mred.txt": b""})
    _, out, _ = run(capsys, "extract", "./pets.zip", "--list")
    assert "\x1b" not in out


def test_extract_with_a_password_from_a_file(capsys, here):
    make_zip(here / "pets.zip")
    (here / "secret").write_text("hunter2\n")
    code, out, _ = run(capsys, "extract", "pets.zip", "out", "--password-file", "secret", "--quiet")
    assert (code, Path(out.strip())) == (0, here / "out")


def test_verify_exits_4_when_a_file_was_changed(capsys, here):
    make_zip(here / "pets.zip")
    _, out, _ = run(capsys, "stage", "./pets.zip", "--quiet")
    folder = Path(out.strip())
    assert run(capsys, "verify", folder)[0] == 0
    (folder / "cat" / "1.txt").write_text("MEOW")
    code, out, _ = run(capsys, "verify", folder)
    assert (code, out.split()) == (4, ["damaged", "cat/1.txt"])
    (folder / "cat" / "1.txt").write_text("meow")
    (folder / "mine.txt").write_text("mine")
    code, out, _ = run(capsys, "verify", folder)
    assert (code, out.split()) == (0, ["extra", "mine.txt"])


def test_catalog_lists_names_sizes_and_licences(capsys):
    code, out, _ = run(capsys, "catalog")
    assert code == 0
    assert {"cifar10", "cifar100", "mnist", "fashion_mnist", "digits", "iris"} <= {
        line.split()[0] for line in out.splitlines() if line.startswith("  ")
    }


def test_a_password_in_an_address_is_in_no_output_and_no_file(capsys, here, tmp_path):
    address = "http://me:hunter2@127.0.0.1:9/a.zip?token=hunter2"
    code, out, err = run(capsys, "stage", address, "--json")
    assert code == 3
    assert "hunter2" not in out + err
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_shell_line_of_the_readme_works(here):
    make_zip(here / "pets.zip")
    script = f'DATA=$({sys.executable} -m datastage stage ./pets.zip --quiet) && ls "$DATA"/cat'
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment)
    assert (result.stdout, result.stderr) == ("1.txt\n", "")


def test_what_ends_the_run_in_code_of_a_user_is_shown_as_python_shows_it(here):
    (here / "ours.py").write_text("raise SystemExit('This course needs Python 3.12.')\n")
    words = [sys.executable, "-m", "datastage", "catalog", "--catalog", "ours.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (1, "This course needs Python 3.12.\n")


def test_json_of_several_is_one_document_where_one_of_them_fails(capsys, here):
    make_zip(here / "pets.zip")
    code, out, _ = run(capsys, "stage", "./pets.zip", "./gone.zip", "--json", "--quiet")
    said = json.loads(out)
    assert (code, said["exit"], said["error"]) == (3, 3, "UnavailableError")
    assert [Path(each["path"]).name[:4] for each in said["staged"]] == ["pets"]


def test_json_of_an_interrupt_is_a_document_too(capsys, here, monkeypatch):
    make_zip(here / "pets.zip")
    stage = cli.api.stage
    stop = (value for value in (None, KeyboardInterrupt()))

    def stopped(*given, **named):
        if (error := next(stop)) is not None:
            raise error
        return stage(*given, **named)

    monkeypatch.setattr(cli.api, "stage", stopped)
    code, out, _ = run(capsys, "stage", "./pets.zip", "./more.zip", "--json", "--quiet")
    said = json.loads(out)
    assert (code, said["exit"], said["error"], len(said["staged"])) == (130, 130, "Stopped", 1)
    assert said["message"] == "Stopped. Nothing half-done was put in place."
    assert said["remedy"] == ["Next: run the same line again."]


@pytest.mark.parametrize("name", ["new\nline", "é", "tab\t\udcff"])
@pytest.mark.parametrize("verb", ["stage", "extract"])
def test_a_path_that_a_shell_takes_is_the_one_on_the_disk(here, verb, name):
    make_zip(here / "pets.zip")
    words = ["./pets.zip", "--root", name] if verb == "stage" else ["pets.zip", name]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent), "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "datastage", verb, *words, "--quiet"]
    out = subprocess.run(words, cwd=here, capture_output=True, env=environment, check=True).stdout
    assert (Path(os.fsdecode(out[:-1])) / "cat" / "1.txt").is_file()
    assert out.endswith(b"\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_exits_130_and_leaves_nothing_half_done(here, tmp_path, number):
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}
    code = (
        "import sys, time; from datastage import chain, cli;"
        "chain.Chain._from_spec = lambda *a: (print('begun', flush=True), time.sleep(600));"
        "sys.exit(cli.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "stage", "./x.zip"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Tests started in the background of a shell ignore the interrupt, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Stopped. Nothing half-done was put in place." in err
    assert "Traceback" not in err
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stage", "./pets.zip", "--name", "full", "--root", "."], "--name 'full-2', or another folder with --root."),
        (["stage", "./pets.zip", "--expect", "md5:1"], "Next: --expect 'md5:' and 32 hexadecimal digits"),
        (["stage", "./locked.zip"], "with --password ..., or --password-file FILE"),
        (["stage", "./page.zip"], "--no-unpack"),
        (["stage", "./pets.zip", "--members", "x"], "Next: datastage extract --list {here}/pets.zip"),
        (["stage", "./my pets.zip", "--members", "x"], "Next: datastage extract --list '{here}/my pets.zip'"),
        (["extract", "http://h.example/a.zip?name=b", "out"], "datastage stage 'http://h.example/a.zip?name="),
        (["stage", "./pets.zip", "--save-to", "http://h.example"], "--save-to 'drive:datasets'"),
        (["read", "./one"], "(--class 'cat' takes it all the same)"),
    ],
)
def test_what_a_shell_user_is_told_to_write_is_written_as_in_a_shell(capsys, here, words, said):
    """In Python the same error names the argument."""
    for name in ("pets.zip", "my pets.zip"):
        make_zip(here / name)
    locked = make_zip(here / "locked.zip").read_bytes()
    bits = rb"(PK\x03\x04..|PK\x01\x02....)."
    (here / "locked.zip").write_bytes(re.sub(bits, b"\\g<1>\x01", locked, flags=re.DOTALL))
    (here / "page.zip").write_bytes(b"no archive at all")
    (here / "full").mkdir()
    (here / "one/cat").mkdir(parents=True)
    (here / "one/cat/1.png").write_bytes(b"")
    (here / "full/mine.txt").write_text("mine")
    code, _, text = run(capsys, *words)
    text = " ".join(text.split())
    assert code >= 2
    assert said.format(here=here) in text
    assert not re.search(r"\b(root|name|expect|password|unpack|save_to)=[^.]", text.replace("?name=", "")), text


@pytest.mark.parametrize(
    "words",
    [["extract", "", "out"], ["extract", "a.zip", ""], ["verify", ""], ["zip", "", "x.zip"], ["zip", ".", ""],
     ["stage", "./a.zip", "--save-to", ""]],
)  # fmt: skip
def test_a_variable_that_is_not_set_is_no_name(capsys, here, words):
    code, _, text = run(capsys, *words)
    assert (code, "is empty" in text, "ariable" in text) == (2, True, True)


def test_what_is_noted_names_flags_too(capsys, here):
    with zipfile.ZipFile(here / "names.zip", "w") as archive:
        archive.writestr("xxo.txt", "1")
    data = (here / "names.zip").read_bytes()
    (here / "names.zip").write_bytes(data.replace(b"xxo.txt", "cão.txt".encode("cp850")))
    _, _, text = run(capsys, "stage", "./names.zip")
    assert "(--encoding settles it)" in " ".join(text.split())
    quiet = run(capsys, "stage", "./names.zip", "--quiet", "--refresh")[2]
    assert quiet == "Names were read as cp850; --encoding NAME settles it.\n"
    make_zip(here / "name=cat.zip")
    for _ in range(2):
        said = run(capsys, "stage", "./name=cat.zip", "--root", "my root=1")[2]
        assert str(here / "my root=1") in said
        assert "name=cat.zip" in said
    datastage.stage("./names.zip", refresh=True, progress=True)
    assert "(encoding= settles it)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(sys.platform == "win32", reason="there a folder in use cannot be removed")
@pytest.mark.parametrize("words", [["stage", "./pets.zip"], ["extract", "../pets.zip", "."], ["extract", "p.zip", "x"]])
def test_a_working_directory_that_is_gone_is_said(words, here):
    (here / "gone").mkdir()
    script = 'rmdir "$PWD" && exec "$0" -m datastage "$@"'
    environment = {**os.environ, "PYTHONPATH": str(Path(datastage.__file__).parents[1])}
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, *words], cwd=here / "gone", capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr.partition(":")[0]) == (5, "The working directory is gone")
    assert "Traceback" not in done.stderr


def test_bench_prints_a_line_for_each_way_of_feeding(capsys, here, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from datastage.batches.benchmark import bench

    monkeypatch.setitem(bench.__kwdefaults__, "seconds", 0.2)
    code, out, _ = run(capsys, "bench", "digits", "--batch-size", "64", "--device", "cpu", "--quiet")
    assert code == 0
    assert len([line for line in out.splitlines() if "images/s" in line]) == 3


def test_zip_packs_a_folder_that_stage_unpacks_to_the_same(capsys, here):
    (here / "photos" / "cat").mkdir(parents=True)
    (here / "photos" / "cat" / "1.txt").write_text("meow")
    code, out, _ = run(capsys, "zip", "./photos", "./photos.zip", "--quiet")
    assert (code, Path(out.strip())) == (0, here / "photos.zip")
    _, out, _ = run(capsys, "stage", "./photos.zip", "--quiet")
    assert (Path(out.strip()) / "cat" / "1.txt").read_text() == "meow"
    assert run(capsys, "zip", "./photos", "./photos.zip")[0] == 5
    assert run(capsys, "zip", "./photos.zip", "./again.zip")[0] == 2


def test_a_path_is_printed_where_the_output_takes_text_alone(here, monkeypatch):
    class Text:  # as the kernel of a notebook has it
        said = ""

        def write(self, text):
            self.said += text

        def flush(self):
            pass

    (here / "a.txt").write_text("1")
    monkeypatch.setattr(sys, "stdout", out := Text())
    code = cli.main(["stage", "./a.txt", "--quiet"])
    assert (code, Path(out.said.strip()).is_absolute()) == (0, True)
