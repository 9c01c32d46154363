"""What a source gives: `Found`, and `Fetch` for the libraries that write files themselves.

Here: the two types, which every source returns. Not here: any source, nor the choice of one (`datastage.sources`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datastage.progress import Reporter
from datastage.reader import Reader
from datastage.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Fetch:
    """Content that a library must write to a disk of ours first.

    Attributes
    ----------
    run : callable
        ``run(folder, reporter)`` writes into the given empty folder and returns the file or folder that it made.
    """

    run: Callable[[Path, Reporter], Path]


@dataclass(frozen=True, slots=True)
class Found:
    """What a spec names, reached.

    Attributes
    ----------
    content : Path, Reader or Fetch
        A folder, the bytes of a file, or the way to fetch it.
    place : str
        The place as printed, secrets removed: ``"drive:datasets.zip"``.
    seen : str
        What was found, in a person's words: ``"datasets.zip, 1.2 GB, in My Drive > Colab Notebooks"``.
    identity : str
        Changes when the content does; empty where nothing tells.
    in_place : bool
        Whether it may be used where it is, since copying would gain nothing.
    """

    content: Path | Reader | Fetch
    place: str
    seen: str
    identity: str = ""
    in_place: bool = False


def line_to_run(spec: str, runtime: Runtime) -> str:
    """Return the line that stages `spec` here: in Python, or as the command where no kernel is.

    Examples
    --------
    >>> from datastage.runtime import detect
    >>> line_to_run("drive:datasets.zip", detect({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}))
    'Next:  !datastage stage "drive:datasets.zip"'
    """
    quoted = f'"{spec}"' if '"' not in spec and "\\" not in spec else repr(spec)
    if runtime.in_kernel:
        return f"Next:  path = datastage.stage({quoted})"
    bang = "!" if runtime.platform in ("colab", "kaggle") else ""
    return f"Next:  {bang}datastage stage {quoted}"
