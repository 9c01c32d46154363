"""What a helper process does: batches in on standard input, files written, answers out; it ends when its input ends.

Nothing heavy is imported here: an interpreter that takes long to start is of no help.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys

from datastage.archives import inflate, zip_entry, zip_members
from datastage.archives.errors import Fault
from datastage.archives.write import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any


def send(to: IO[bytes], item: Any) -> None:
    """Send one item: its length, and what marshal makes of it."""
    data = marshal.dumps(item)
    to.write(len(data).to_bytes(4, "little") + data)
    to.flush()


def receive(source: IO[bytes]) -> Any:
    """Return the next item; None where there is no more."""
    head = source.read(4)
    return marshal.loads(source.read(int.from_bytes(head, "little"))) if len(head) == 4 else None


def main() -> None:
    """Work until standard input ends."""
    # Ctrl-C reaches the whole group of processes: the parent decides, and closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, answers = sys.stdin.buffer, sys.stdout.buffer

    setup = receive(source)
    if setup is None:
        return
    archive, root, start, size, modules, password = setup
    inflate.choose(tuple(modules))
    fd = os.open(archive, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read_at(offset: int, n: int) -> bytes:
        data = os.pread(fd, n, offset)
        while len(data) < n and (more := os.pread(fd, n - len(data), offset + len(data))):
            data += more
        return data

    entries = zip_entry.Entries(read_at, start, size)
    written = [0]

    def advance(n: int) -> None:
        written[0] += n

    with Folder(root) as folder:
        while (batch := receive(source)) is not None:
            written[0] = 0
            try:
                zip_members.write_batch(read_at, folder, *entries.of(batch), password, advance)
            except Fault as fault:
                send(answers, ("fault", fault.rule, fault.text, fault.name))
            except OSError as error:
                send(answers, ("os", error.errno, error.strerror, error.filename))
            except Exception as error:
                send(answers, ("bug", repr(error)))
            else:
                send(answers, ("done", written[0]))
