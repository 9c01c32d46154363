"""A transfer killed at any instant and run again ends right, and asks again for no more than was in flight."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datastage.sources import http
from datastage.transfer import fetch
from datastage.transfer.block_map import block_bytes

BODY = random.Random(11).randbytes(6_000_000)
CONNECTIONS = 4
CHILD = """
import sys
from pathlib import Path
from datastage.sources import http
from datastage.transfer import fetch
fetch(http.open_url(sys.argv[1]), Path(sys.argv[2]), connections=int(sys.argv[3]))
"""


def kill_and_run_again(server, folder: Path, chance: random.Random) -> None:
    folder.mkdir()
    # Bytes come for about a third of a second; the kill falls before, within or after.
    url = server.serve("data.bin", BODY, rate=18_000_000)
    server.n_sent["data.bin"] = 0
    seen = len(server.requests("data.bin"))
    command = [sys.executable, "-c", CHILD, url, str(folder / "data.bin"), str(CONNECTIONS)]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 30
        while len(server.requests("data.bin")) == seen and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.4))
    finally:
        child.kill()
        child.wait()
    ended = child.returncode != -signal.SIGKILL
    final = folder / "data.bin"
    if ended:
        assert final.read_bytes() == BODY
        return
    assert not final.exists() or final.read_bytes() == BODY, "half a file at the final path"
    time.sleep(0.05)  # what the server still pushes into the dead connection
    server.pages["data.bin"].rate = None
    was_whole = final.exists()
    with http.open_url(url) as reader:
        done = fetch(reader, final, connections=CONNECTIONS)
    same = final.read_bytes() == BODY
    assert same
    assert sorted(os.listdir(folder)) == ["data.bin"]
    if not was_whole:
        # All that came twice: the first look, the blocks that were in flight, and what a server had sent of blocks
        # that idle workers took halves of.
        twice = server.n_sent["data.bin"] - len(BODY)
        assert twice <= 2 * CONNECTIONS * block_bytes(len(BODY)) + 2 * 8192, f"{twice:,} bytes came twice"
    assert done.n_bytes == len(BODY)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="left out: there is no SIGKILL here")
def test_a_killed_transfer_run_again_ends_right_and_repeats_only_what_was_in_flight(server, tmp_path):
    chance = random.Random(3)
    for number in range(8):
        kill_and_run_again(server, tmp_path / str(number), chance)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="left out: there is no SIGKILL here")
def test_two_hundred_killed_transfers_run_again_end_right(server, tmp_path):
    chance = random.Random(4)
    for number in range(200):
        kill_and_run_again(server, tmp_path / str(number), chance)
