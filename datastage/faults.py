"""The last net: a fault of our own becomes a few lines for a person, and a report in a file."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from types import TracebackType

from datastage._version import __version__
from datastage.errors import DatastageError, FaultError, StorageError, needing
from datastage.redact import hide_secrets

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Let errors of ours, the user's and other libraries pass; of any other make a `FaultError`, or name what lacks."""
    try:
        yield
    except (DatastageError, MemoryError, BrokenPipeError):
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and _is_nowhere():
            raise StorageError(
                "The working directory is gone: it was removed, or another took its place.",
                "Next: go to a folder that is there (cd), and run the same line again.",
                code=errno.ENOENT,
            ) from error
        where = _our_line(error.__traceback__)
        if where is None:
            raise
        if isinstance(error, ModuleNotFoundError) and error.name in ("numpy", "torch"):
            with needing("This", error.name):
                raise
        raise _fault(error, where) from error


def _is_nowhere() -> bool:
    with contextlib.suppress(OSError):
        return not os.getcwd()
    return True


def _our_line(trace: TracebackType | None) -> str | None:
    """Return where in datastage an error came from; None if other code stands between, which has its own faults."""
    import sysconfig
    import traceback

    standard = tuple(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib"))
    frames = list(traceback.walk_tb(trace))
    for frame, line in reversed(frames):
        name = os.path.realpath(frame.f_code.co_filename)
        if name.startswith(_PACKAGE) and not name.endswith("api.py"):
            return f"{name[len(_PACKAGE) :]}, line {line}"
        is_standard = name.startswith(standard) and "site-packages" not in name and "dist-packages" not in name
        if not is_standard and not frame.f_code.co_filename.startswith("<frozen"):
            return None
    return None


def _fault(error: Exception, where: str) -> FaultError:
    import platform
    import tempfile
    import traceback

    text = hide_secrets("".join(traceback.format_exception(error)))
    report = ""
    with contextlib.suppress(OSError):
        number, report = tempfile.mkstemp(prefix="datastage-fault-", suffix=".txt")  # mode 0600
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(f"datastage {__version__}, Python {sys.version}, {platform.platform()}\n\n{text}")
    return FaultError(
        f"datastage met a fault of its own ({type(error).__name__} in {where}). You did nothing wrong.",
        f"What it was: {str(error)[:200] or 'nothing was said'}",
        "Nothing half-done was put in place.",
        f"The report, without secrets, is in {report}" if report else "No report could be written.",
        "Next: run the same line again; if it fails again, send that report to whoever maintains datastage.",
    )
