"""Where data may lie: one module a kind of place, and the choice of the one that a spec names.

Here: `open_spec`, which turns a spec into what it names. Not here: how a place is reached (each module), the order in
which places are tried (`staging`).
"""

from __future__ import annotations

from collections.abc import Callable

from datastage.errors import SpecError
from datastage.progress import SILENT, Reporter
from datastage.runtime import Runtime
from datastage.sources import drive, http, kaggle, local, share
from datastage.sources.found import Fetch, Found
from datastage.spec import Spec

__all__ = ["Fetch", "Found", "drive", "http", "kaggle", "local", "open_spec", "share"]

_OPEN: dict[str, Callable[[Spec, Runtime, Reporter], Found]] = {
    "file": local.open,
    "relative": local.open,
    "drive": drive.open,
    "share": share.open,
    "kaggle": kaggle.open,
    "http": http.open,
}
# What comes with a later release, in words, and what to do today.
_LATER = {
    "github": "Fetching from a GitHub repository",
    "hf": "Fetching from the Hugging Face Hub",
    "s3": "Fetching from an S3 bucket",
    "gs": "Fetching from a Google Cloud bucket",
    "upload": "Asking for an upload",
}
_TODAY = {
    "github": "On GitHub, open the file, right-click Raw, and copy the address: an https:// address works today.",
    "hf": "On the page of the dataset, under Files, copy the address of the download arrow: https:// works today.",
    "s3": "An https:// address of the file works today; or copy it here with: aws s3 cp ADDRESS .",
    "gs": "An https:// address of the file works today; or copy it here with: gsutil cp ADDRESS .",
    "upload": "Upload it with the notebook's own button (folder icon > upload), then name it with ./ in front.",
}


def open_spec(spec: Spec, runtime: Runtime, *, reporter: Reporter = SILENT) -> Found:
    """Reach what `spec` names.

    Parameters
    ----------
    spec : Spec
        What the user wrote, or a fallback. Not the name of a dataset: that is many places (`staging`).
    runtime : Runtime
        Where we are.
    reporter : Reporter
        Told of what takes long.

    Returns
    -------
    Found
        A folder, a reader, or a fetch.

    Raises
    ------
    UnavailableError
        If it is not there, or a person has to do something first.
    SpecError
        If the spec names a kind of place that this release does not reach.
    DatastageError
        Whatever else each place may run into.
    """
    reach = _OPEN.get(spec.scheme)
    if reach is None:
        raise _not_yet(spec)
    return reach(spec, runtime, reporter)


def _not_yet(spec: Spec) -> SpecError:
    what = _LATER.get(spec.scheme)
    if what is None:
        return SpecError(f"{spec} is the name of a dataset, not a place.", "Next: give a place, such as ./data.zip.")
    return SpecError(f"{spec}: {what} ({spec.scheme}:) comes with a later release of datastage.", _TODAY[spec.scheme])
