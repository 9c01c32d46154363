"""Scripts of people who use other libraries, each in processes of its own."""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """Run a script, on so many ranks by torchrun, and return what it printed; it is skipped if a client is not here."""

    def run(script, *clients, ranks=1, arguments=(), **environment):
        for name in clients:
            if find_spec(name) is None:
                pytest.skip(f"{name} is not installed here")
        (tmp_path / "script.py").write_text(textwrap.dedent(script), "utf-8")
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        done = subprocess.run(
            [sys.executable, *start, "script.py", *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=850,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PJRT_DEVICE": "CPU",
                 "ACCELERATE_USE_CPU": "true", "RAY_TRAIN_V2_ENABLED": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        ours = [line for line in done.stderr.splitlines() if "Warning" in line and "datastage/" in line]
        assert not ours, ours
        return done.stdout

    return run
