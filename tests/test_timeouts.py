"""A call that never answers is left behind, and holds nobody up: neither its caller nor the program at its end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from datastage.timeouts import call_with_timeout

_START = """
import threading
from datastage import timeouts, transfer
from datastage.sources import libraries
hang = lambda *task: threading.Event().wait()
"""
_HANGING = {
    "a look at a mount": "timeouts.call_with_timeout(hang, 0.05)",
    "many reads of one": "transfer.Pool('it', transfer.Limits(stall_s=0.05, tries=1)).run(hang, [1], 2)",
    "a library": "libraries.Watch().run(hang, None, 0.05, lambda: None)",
}


@pytest.mark.parametrize("what", _HANGING)
def test_what_hangs_is_left_and_the_program_ends(what):
    code = f"{_START}\ntry: {_HANGING[what]}\nexcept OSError: print('left')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "left\n", done.stderr


def test_what_is_returned_or_raised_comes_as_it_is():
    assert call_with_timeout(lambda: 1) == 1
    with pytest.raises(KeyError, match="x"):
        call_with_timeout(lambda: {}["x"])
