"""A Python that has imported torch: a script runs in a fork of it, a process of its own that starts at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SERVER = """
import json, os, sys
import numpy, torch
for line in sys.stdin:
    ask = json.loads(line)
    if "pid" in ask:
        done, status = os.waitpid(ask["pid"], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if done else None), flush=True)
    elif pid := os.fork():
        print(pid, flush=True)
    else:
        os.chdir(ask["cwd"])
        os.environ.clear()
        os.environ.update(ask["env"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd, name in enumerate((ask["out"], ask["err"]), 1):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), fd)
        sys.argv = ["-c", *ask["words"]]
        sys.path[:1] = ["", *filter(None, ask["env"].get("PYTHONPATH", "").split(os.pathsep))]
        break
else:
    sys.exit()
exec(compile(ask["script"], "<string>", "exec"))
"""


class Fork:
    """A script at work. What it prints lies in `out` and `err` of the folder given."""

    def __init__(self, warm: Warm, pid: int, out: Path, err: Path) -> None:
        self.warm, self.pid, self.out, self.err = warm, pid, out, err
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.warm.ask(pid=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
                raise TimeoutError(self.err.read_text("utf-8"))
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Warm:
    """The process that forks: the fixture `warm`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **words: object) -> int | None:
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self, script: str, *words: object, prints: Path, cwd: Path | None = None, env: dict | None = None
    ) -> Fork:
        """Start a script with its words; it prints into files below the folder `prints`."""
        prints.mkdir(parents=True, exist_ok=True)
        name = f"{time.monotonic_ns()}"
        out, err = prints / f"{name}.out", prints / f"{name}.err"
        ask = {"script": script, "words": [str(word) for word in words], "cwd": str(cwd or Path.cwd()),
               "env": dict(env or os.environ), "out": str(out), "err": str(err)}  # fmt: skip
        return Fork(self, self.ask(**ask), out, err)

    def close(self) -> None:
        # What a test has forked may hold the pipe open: its end says nothing.
        self.process.kill()
        self.process.wait(30)
        self.process.stdin.close()
        self.process.stdout.close()
