"""``upload:NAME``: a file that a person brings, in Colab's upload window, or by hand while the cell waits for it."""

from __future__ import annotations

import os
import re
import threading
import time
from functools import partial
from pathlib import Path

from datastage.errors import DatastageError, SpecError, UnavailableError
from datastage.progress import Reporter, duration, human_seconds
from datastage.runtime import Runtime
from datastage.sources import kaggle_inputs, path
from datastage.sources.found import Context, Fetch, Found, kaggle_title, line_to_run
from datastage.spec import Spec

_POLL_S = 1.0
_LIMITS = (
    "The upload window takes files of some tens of MB: the browser holds all of one in its memory.",
    "A larger one is better put into My Drive, at drive.google.com; then it is  drive:{name}",
)
# How a person brings a file, by the platform; the last one is for any other.
_STEPS = {
    "kaggle": (
        'In the right-hand panel: "Input" > "Upload" > New Dataset, with the title  {stem}',
        '"Create", and wait until it is done.',
    ),
    "colab": (
        "Press the folder icon in the left bar, then the upload arrow, and choose {name}.",
        "It goes away with the session: in My Drive it stays, and is  drive:{name}",
    ),
    "jupyter": ("In the list of files on the left, press the upload arrow, and choose {name}.",),
    "": ("Copy {name} into this folder:", "    {cwd}"),
}


def parse_upload(text: str, word: str, rest: str) -> Spec:
    """Tell the file's name in ``upload:NAME``."""
    if not rest or "/" in rest or "\\" in rest:
        raise SpecError(f"{text!r}: only a file's name follows upload:.", "Next: upload:datasets.zip")
    return Spec(text, "upload", rest)


def open_upload(spec: Spec, context: Context) -> Found:
    """Take the file if it is there; else open Colab's upload window, or wait, or say how to bring it."""
    runtime, name = context.runtime, spec.value
    found = _there(spec, runtime)
    if found is not None:
        return found
    if runtime.platform == "colab" and runtime.in_kernel and not context.wait_s:
        return Found(Fetch(partial(_ask_colab, name=name, runtime=runtime)), str(spec), f"{name}, uploaded")
    facts = {"name": name, "stem": kaggle_title(name), "cwd": runtime.cwd}
    steps = [line.format(**facts) for line in _STEPS.get(runtime.platform, _STEPS[""])]
    if context.wait_s and not runtime.is_batch:
        numbered = [f" {n}. {step}" if not step.startswith(" ") else step for n, step in enumerate(steps, 1)]
        wanted = f"{name} is wanted, from your own computer. This waits for it, up to {duration(context.wait_s)}."
        ending = "When all of it is there, this goes on by itself. To end the waiting, stop it."
        context.reporter.note("\n".join([wanted, *numbered, ending]))
        found = _waited_for(spec, context)
        if found is not None:
            return found
        raise UnavailableError(
            f"{name} did not appear within {human_seconds(context.wait_s)}.",
            *steps,
            "Next: then run the same line again.",
        )
    next_line = f"Next: then {line_to_run(str(spec), runtime).removeprefix('Next:').strip()}"
    raise UnavailableError(f"{name} has to be brought here first.", *steps, next_line)


def _there(spec: Spec, runtime: Runtime) -> Found | None:
    """Find the file where a person may have put it: as a relative path, or as an input with its name for a title."""
    try:
        return path.open_path(Spec(spec.text, "relative", spec.value), Context(runtime))
    except UnavailableError:
        pass
    for item in kaggle_inputs.inputs(runtime.input_root):
        if item.slug == kaggle_title(spec.value):  # Kaggle unpacks archives
            return Found(item.path, str(spec), item.called, in_place=True)
    return None


def _waited_for(spec: Spec, context: Context) -> Found | None:
    """Look for the file again and again until it is there and grows no more; name what appears in its place."""
    runtime, began = context.runtime, time.monotonic()
    known = set(os.listdir(runtime.cwd))
    inputs = {item.slug for item in kaggle_inputs.inputs(runtime.input_root)}
    last = ""
    while (waited := time.monotonic() - began) < context.wait_s:
        context.reporter.phase(f"waiting for {spec.value}, {duration(waited)} of {duration(context.wait_s)}", None)
        time.sleep(min(_POLL_S, context.wait_s))
        title = kaggle_title(spec.value)
        for item in kaggle_inputs.inputs(runtime.input_root):
            if item.slug not in inputs and item.slug != title:
                context.reporter.note(f'the input "{item.slug}" has appeared; "{title}" is waited for.')
            inputs.add(item.slug)
        for other in sorted(set(os.listdir(runtime.cwd)) - known - {spec.value}):
            known.add(other)
            if _is_renamed(other, spec.value):
                spec = Spec(spec.text, "upload", other)
            else:
                context.reporter.note(f"{other} has appeared; {spec.value} is what is waited for.")
        try:
            found = _there(spec, runtime)
        except DatastageError:  # an empty folder that is being filled
            continue
        if found is None:
            continue
        identity = found.identity or found.seen
        if identity == last:
            return found
        last = identity
        if not isinstance(found.content, Path | Fetch):
            found.content.close()
    return None


def _is_renamed(name: str, wanted: str) -> bool:
    """Tell whether a name is what a browser or Colab makes of `wanted` where one is there already: ``a (1).zip``."""
    return re.sub(r" ?\(\d+\)(?=\.|$)", "", name) == wanted


def _ask_colab(folder: Path, reporter: Reporter, *, name: str, runtime: Runtime) -> Path:
    """Open the upload window; what is chosen in it is taken if it is the file."""
    if threading.current_thread() is not threading.main_thread():
        raise UnavailableError(
            "The upload window can only be opened by the cell itself, not by a thread that it has started.",
            f"Next: run  datastage.stage('upload:{name}')  in a cell of its own.",
        )
    by_hand = [line.format(name=name) for line in _STEPS["colab"]]
    for line in _LIMITS:
        reporter.note(line.format(name=name))
    try:
        from google.colab import files

        chosen = list(files.upload(target_dir=str(folder)))
    except Exception as error:
        raise UnavailableError(
            f"Colab's upload window failed: {type(error).__name__}. A large file is too much for it.",
            *by_hand,
            "Next: then run this cell again.",
        ) from error
    right = next((one for one in chosen if _is_renamed(Path(one).name, name)), None)
    for one in chosen:
        if one != right:
            (folder / Path(one).name).unlink(missing_ok=True)
    if right is not None:
        os.replace(folder / Path(right).name, folder / name)
        return folder / name
    if not chosen:
        raise UnavailableError(
            f"Nothing was chosen in the upload window; {name} is needed.", *by_hand, "Next: run this cell again."
        )
    wrong = ", ".join(Path(one).name for one in chosen)
    raise UnavailableError(
        f"{wrong} was uploaded, and {name} is needed: nothing was kept.",
        f"Is it the right file under another name? Then write  upload:{Path(chosen[0]).name}",
        "Next: run this cell again, and choose the file.",
    )
