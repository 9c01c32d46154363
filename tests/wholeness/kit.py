"""What the tests of wholeness share: data, what it should look like, runs that are killed, a disk that fails."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import datastage
from datastage import slots
from datastage.staged import FILES as LIST
from datastage.staged import RECEIPT, read_files, read_receipt, verify_folder

PACKAGE = str(Path(datastage.__file__).parent.parent)
STAGE = """
import json, sys
import datastage
from datastage import archives, staging, transfer
spec, options = json.loads(sys.argv[1])
print("go", flush=True)
print(datastage.stage(spec, progress=False, **options), flush=True)
"""


def make_zip(path, n=300, seed=0, size=2000):
    """Write a zip of `n` files in seven folders, other bytes for each seed."""
    rng = random.Random(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(n):
            archive.writestr(f"class{number % 7}/{number:04}.bin", rng.randbytes(size // 2) * 2)
    return path


def fingerprint(folder):
    """A digest of every path and content below `folder`, datastage's own two files apart."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.name not in (RECEIPT, LIST):
            digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def right_one(archive, tmp_path):
    """The fingerprint of what Python's own zipfile makes of an archive."""
    folder = tmp_path / f"by zipfile {archive.name}"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return fingerprint(folder)


def is_whole(folder):
    """Tell whether every file that the receipt lists is there with its bytes."""
    receipt = read_receipt(folder)
    if receipt is None:
        return False
    found = verify_folder(folder, read_files(folder, receipt))
    return found.ok and not found.extra


def environment():
    return {**os.environ, "PYTHONPATH": PACKAGE}


def command(*arguments):
    return [sys.executable, "-m", "datastage", *map(str, arguments)]


def begin(script, *arguments, **options):
    """Start a script; return its process when it has said that it goes."""
    words = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options
    )
    assert process.stdout.readline() == "go\n"
    return process


def begin_staging(spec, **options):
    return begin(STAGE, json.dumps([str(spec), options]))


def end(process):
    """Kill a process, and read what it said."""
    process.kill()
    said = process.communicate()[0]
    return said


def seconds_of(process):
    """Wait for a process; how long it took."""
    began = time.monotonic()
    process.communicate(timeout=100)
    assert process.returncode == 0
    return time.monotonic() - began


def hidden(root):
    """What is unfinished under a root: all that is hidden, but for the marks of what is staged."""
    beside = [path for path in Path(root).iterdir() if path.name.startswith(".")]
    own = [path for path in beside if path.name.startswith(slots.OWN_FOLDER)]
    left = [path for path in beside if path not in own] + [path for one in own for path in one.iterdir()]
    return sorted(path.name for path in left if path.suffix != ".mark")
