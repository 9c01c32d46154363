"""The whole corpus of odd, damaged and hostile archives, where it lies beside the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .judge import verdict

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    if not (CORPUS / "make.py").exists():
        pytest.skip("the corpus is not beside this checkout")
    made = tmp_path_factory.mktemp("corpus")
    subprocess.run([sys.executable, CORPUS / "make.py", made], check=True, capture_output=True)
    return made


@pytest.mark.parametrize(
    "kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "7z", "gz", "bz2", "xz", "zst"]
)
def test_every_archive_of_the_corpus_comes_out_right_or_not_at_all(corpus, kind, tmp_path):
    index = json.loads((corpus / "index.json").read_text())
    wrong = {}
    for nth, entry in enumerate(entry for entry in index if entry["format"] == kind):
        work = tmp_path / str(nth)
        work.mkdir()
        found = verdict(corpus / entry["file"], entry, work)
        if found is not None:
            wrong[entry["file"]] = found
    assert wrong == {}
