"""Fetch from Kaggle through the library kagglehub, in a process of its own.

In a process, since kagglehub prints and logs on standard output, reads its settings from the environment, and inside
Kaggle and Colab waits for a mount without end. It may be ended, and nothing of the user's process changes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastage import transfer
from datastage.errors import DatastageError, IntegrityError, MissingDependencyError, UnavailableError, while_doing
from datastage.network import is_offline
from datastage.progress import SILENT, Reporter
from datastage.runtime import Runtime, secret
from datastage.sources.libraries import Answers, Failure, Watch, answered

# Without a byte for so long, kagglehub is given up: its own requests end after 15 s.
STALL_S = 90.0
# How long Kaggle may take to attach something; Colab, to mount it.
ATTACH_S = 120.0
_CACHE = ".kagglehub"
_CHILD = """
import json, sys
function, handle, path = json.loads(sys.argv[1])
try:
    import kagglehub
    answer = {"path": getattr(kagglehub, function)(handle, **({"path": path} if path else {}))}
except BaseException as error:
    response = getattr(error, "response", None)
    names = [cls.__name__ for cls in type(error).__mro__]
    answer = {"error": names, "text": str(error), "status": getattr(response, "status_code", None)}
print("\\nDATASTAGE " + json.dumps(answer))
"""


@dataclass(frozen=True, slots=True)
class Handle:
    """What a ``kaggle:`` spec names, as kagglehub is asked for it."""

    kind: str  # "dataset", "competition", "model", "notebook", or "any" where only a name was given
    names: tuple[str, ...]  # of a model: owner, model, framework, variation
    version: str = ""
    file: str = ""

    @property
    def slug(self) -> str:
        """The name that a person sees."""
        return self.names[min(1, len(self.names) - 1)]

    @property
    def page(self) -> str:
        if self.kind == "any":
            return f"https://www.kaggle.com/search?q={self.slug}"
        if self.kind == "competition":
            return f"https://www.kaggle.com/competitions/{self.slug}/data"
        folder = {"notebook": "code", "model": "models"}.get(self.kind, "datasets")
        return f"https://www.kaggle.com/{folder}/{'/'.join(self.names)}"

    @property
    def text(self) -> str:
        """The handle as kagglehub takes it."""
        middle = "/" if self.kind == "model" else "/versions/"
        return "/".join(self.names) + (f"{middle}{self.version}" if self.version else "")

    @property
    def function(self) -> str:
        return f"{'notebook_output' if self.kind == 'notebook' else self.kind}_download"


def can_be_asked(handle: Handle) -> DatastageError | None:
    """Return why kagglehub cannot be asked from here; None if it can."""
    if handle.kind == "any":
        return UnavailableError(
            f"kaggle:{handle.slug} does not say whose it is, and Kaggle has to be told.",
            f"Its page tells; search for it here:  {handle.page}",
            "Next: kaggle:OWNER/NAME, or kaggle:competitions/NAME.",
        )
    if importlib.util.find_spec("kagglehub") is None or not sys.executable:
        return MissingDependencyError(
            "Fetching from Kaggle needs the library kagglehub, which is not installed here.",
            "Or open this page in a browser, press Download, and put the file beside your notebook:",
            f"    {handle.page}",
            "Once kagglehub is installed, run the same line again.",
            "Next:  pip install kagglehub",
        )
    is_local = os.environ.get("KAGGLE_API_ENVIRONMENT") in ("LOCALHOST", "TEST")
    if is_offline("localhost" if is_local else "www.kaggle.com"):
        return _refusal(handle, ("ConnectionError",))
    return None


def fetch(folder: Path, reporter: Reporter, *, handle: Handle, runtime: Runtime) -> Path:
    """Fetch into the empty `folder`; return the file or folder that was made there."""
    cache = folder / _CACHE
    reporter.phase(f"copying {handle.slug} from Kaggle", None)
    try:
        with while_doing("writing what came from Kaggle"):
            made = _asked(handle, runtime, cache, reporter)
            target = folder / (Path(handle.file).name or handle.slug)
            if made.is_relative_to(cache):
                os.replace(made, target)
            elif made.is_dir():  # Colab's own cache, which is mounted
                target.mkdir()
                transfer.copy_tree(made, target, reporter=reporter)
            else:
                shutil.copyfile(made, target)
            return target
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def attach(handle: Handle, runtime: Runtime) -> Path:
    """Attach something to this Kaggle notebook, and return where it appeared."""
    return _asked(handle, runtime)


def cached(handle: Handle, home: Path) -> Path | None:
    """Return what kagglehub has whole in its cache: of the version that was asked for, else the newest."""
    top = Path(os.environ.get("KAGGLEHUB_CACHE") or home / ".cache/kagglehub", f"{handle.kind}s", *handle.names)
    if handle.kind == "competition":
        found = top if top.with_name(f"{top.name}.complete").is_file() else None
    else:
        folder = {"dataset": top / "versions", "notebook": top / "output/versions"}.get(handle.kind, top)
        marks = top if handle.kind != "notebook" else top / "output"
        whole = [mark.stem for mark in marks.glob("*.complete") if mark.stem.isdecimal()]
        version = handle.version or max(whole, key=int, default="")
        found = folder / version if version in whole else None
    path = found / handle.file if found is not None else None
    return path if path is not None and path.exists() else None


def _asked(handle: Handle, runtime: Runtime, cache: Path | None = None, reporter: Reporter = SILENT) -> Path:
    """Ask kagglehub; with each of the user's credentials that it does not find itself, after it was refused."""
    for credentials in ({}, *_credentials(runtime)):
        answer = _run(handle, credentials, cache, reporter)
        if "path" in answer:
            return Path(answer["path"])
        names, status = answer["error"], answer["status"]
        if not {*names, str(status)} & set(_REFUSED):
            break
    raise _refusal(handle, [*names, "attaching"] if cache is None else names, answer["text"], status)


def _credentials(runtime: Runtime) -> Iterator[dict[str, str]]:
    """Give credentials that lie where kagglehub does not look: a kaggle.json that was uploaded, or a secret."""
    for folder in (runtime.cwd, runtime.home / ".config/kaggle", runtime.home / "Downloads"):
        if (folder / "kaggle.json").is_file():
            yield {"KAGGLE_CONFIG_DIR": str(folder)}
    if token := secret("KAGGLE_API_TOKEN"):
        yield {"KAGGLE_API_TOKEN": token}
    elif (name := secret("KAGGLE_USERNAME")) and (key := secret("KAGGLE_KEY")):
        yield {"KAGGLE_USERNAME": name, "KAGGLE_KEY": key}


def _run(handle: Handle, credentials: Mapping[str, str], cache: Path | None, reporter: Reporter) -> dict[str, Any]:
    """Run kagglehub until it answers, or until nothing has come for too long; without a `cache` it attaches."""
    settings = {"KAGGLEHUB_CACHE": str(cache)} if cache is not None else {}
    path = os.pathsep.join(folder for folder in sys.path if folder)  # no code that lies in the working directory
    environ = {**os.environ, "PYTHONPATH": path, "TQDM_DISABLE": "1", **settings, **credentials}
    command = [sys.executable, "-P", "-c", _CHILD, json.dumps([handle.function, handle.text, handle.file])]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            limit_s = ATTACH_S if cache is None else STALL_S
            out, _ = Watch(reporter).run(child.communicate, cache, limit_s, child.kill)
        except TimeoutError:
            return {"error": ["Timeout"], "text": "", "status": None}
    answers = [line for line in out.decode("utf-8", "replace").splitlines() if line.startswith("DATASTAGE ")]
    if not answers:
        return {"error": ["EndedError"], "text": "", "status": None}
    answer: dict[str, Any] = json.loads(answers[-1].partition(" ")[2])
    return answer


# --- refusals


_TOKEN = (
    "Kaggle gives you a token at kaggle.com/settings > API > Generate New Token. Put it",
    "    into the variable KAGGLE_API_TOKEN or the file ~/.kaggle/access_token; in Colab,",
    "    into a secret (key icon) of that name. An older kaggle.json beside it works too.",
)
_BY_HAND = (
    'In the right-hand panel, under "Input": "Add Input", search for {handle.slug}, press +.',
    "Its page is {handle.page}",
    "Next: when Kaggle has finished with it, run this cell again. No restart is needed.",
)
_AGAIN = "Next: run the same line again."
_REFUSED = ("UnauthenticatedError", "401", "403")
# The text of an error is not repeated: it may hold a signed address.
# fmt: off
_REFUSALS: Answers = (
    (lambda it: it.is_a("BackendError", "CredentialError", "KaggleEnvironmentError"),
     ("Kaggle does not attach {handle.slug} to this notebook by itself; by hand it works.", *_BY_HAND)),
    (lambda it: it.is_a("Timeout") and it.is_a("attaching"),
     ("Kaggle did not attach {handle.slug} within {limit} seconds; by hand it works.", *_BY_HAND)),
    (lambda it: it.is_a(*_REFUSED) and it.is_a("competition"), (
        "Kaggle does not give out the data of {handle.slug}: you have not accepted the rules\n"
        "of this competition yet, or Kaggle does not know that it is you.",
        "",
        " 1. Open this page, signed in, press Join Competition, and accept the rules:",
        "    https://www.kaggle.com/competitions/{handle.slug}/rules",
        f" 2. {_TOKEN[0]}", *_TOKEN[1:],
        "",
        _AGAIN,
    )),
    (lambda it: it.is_a("UnauthenticatedError"),
     ("Kaggle gives out {handle.text} only to people that it knows.", *_TOKEN, "Its page is  {handle.page}", _AGAIN)),
    (lambda it: it.status == 401, (
        "Kaggle does not accept your token: it is wrong, or it was taken back.", *_TOKEN,
        "Next: make a new one, and run the same line again.",
    )),
    (lambda it: it.status == 403, (
        "Kaggle does not give out {handle.text}: it is private, or it asks for consent first.",
        "",
        " 1. Can you open this page, signed in? If it asks you to agree to something, do.",
        "    {handle.page}",
        f" 2. {_TOKEN[0]}", *_TOKEN[1:],
        "",
        _AGAIN,
    )),
    (lambda it: it.status == 404 or it.says("not present in"), (
        "Kaggle knows no {what}.",
        "Was it removed, renamed or made private? Its page would be:",
        "    {handle.page}",
        "Next: look at the spelling, then run the same line again.",
    )),
    (lambda it: it.is_a("Timeout"),
     ("Kaggle sent nothing for a long time, and the download was given up.", _AGAIN)),
    (lambda it: it.is_a("ConnectionError"), (
        "Kaggle cannot be reached from here, so {handle.slug} cannot be fetched.",
        "Elsewhere, open this page and press Download:",
        "    {handle.page}",
        "Put the file beside your notebook or script.",
        "Next: name it with ./ in front, such as ./{handle.slug}.zip",
    )),
    (lambda it: True, (
        "kagglehub could not fetch {handle.text}: {kind}.",
        "Open its page in a browser, and press Download:  {handle.page}",
        "Next: run the same line again, or put the file beside your notebook and name it ./FILE",
    )),
)
# fmt: on


def _refusal(handle: Handle, names: Sequence[str], text: str = "", status: int | None = None) -> DatastageError:
    if "DataCorruptionError" in names:
        return IntegrityError(
            f"What came from Kaggle for {handle.text} is not what Kaggle says it should be.",
            "Nothing was kept of it.",
            _AGAIN,
        )
    what = f"{handle.file} in {handle.text}" if handle.file else handle.text
    kind = f"{names[0]} ({status})" if status else names[0]
    failure = Failure((*names, str(status), handle.kind), text, status)
    return answered(_REFUSALS, failure, kind=kind, handle=handle, what=what, limit=f"{ATTACH_S:.0f}")
