"""The page of costs holds what its script makes of its constants."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("numpy")


@pytest.fixture
def model():
    spec = importlib.util.spec_from_file_location("scale_model", ROOT / "benchmarks" / "scale_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_costs_holds_tables_for_every_number_of_photos():
    text = (ROOT / "docs" / "SCALE.md").read_text("utf-8")
    shown = text.partition("<!-- tables -->")[2].partition("<!-- end -->")[0]
    assert len(re.findall(r"^\| 1 billion \|", shown, re.M)) == 4
    assert "### Where each choice stops" in shown


def test_tables_and_charts_are_put_into_the_page_again_and_again(model, monkeypatch, tmp_path):
    page = tmp_path / "SCALE.md"
    page.write_text("# Head\n\n<!-- tables -->\n<!-- end -->\n\nrest\n", "utf-8")
    constants = tmp_path / "constants.json"
    names = re.findall(r"\| (.+) \| .+ \| measured \|", (ROOT / "docs" / "SCALE.md").read_text("utf-8"))
    constants.write_text(json.dumps(dict.fromkeys(names, 100.0)), "utf-8")
    monkeypatch.setattr(model, "DOCS", tmp_path)
    monkeypatch.setattr("sys.argv", ["scale_model.py", "--write", "--constants", str(constants)])
    model.main()
    once = page.read_text("utf-8")
    model.main()
    assert page.read_text("utf-8") == once
    assert once.startswith("# Head\n")
    assert once.endswith("<!-- end -->\n\nrest\n")
    assert "| 1 million |" in once
    assert len(list(tmp_path.glob("*.svg"))) == 3
