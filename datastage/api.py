"""The public functions: what `import datastage` offers. Each is its signature, its words, and one call."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from datastage.errors import DatastageError, SpecError, name_data, stopped_in_two_lines, while_doing
from datastage.misuse import check_given, class_names, misused, possible
from datastage.progress import SILENT, Reporter, close

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from datastage.archives import Member
    from datastage.batches.augment import Augment
    from datastage.batches.benchmark import Row
    from datastage.batches.loader import Loader, Loaders
    from datastage.cleanup import Removable
    from datastage.course import Checked
    from datastage.entry import ArchiveEntry, Entry
    from datastage.layouts import Reading
    from datastage.options import StageOptions
    from datastage.packing import Packed
    from datastage.runtime import Runtime
    from datastage.show.doctor import Report
    from datastage.staged import Staged, Verification

Progress = bool | Literal["auto"] | Reporter
PathLike = str | os.PathLike[str]
P = ParamSpec("P")
T = TypeVar("T")


def _answered(verb: Callable[P, T]) -> Callable[P, T]:
    """Have a call that does not fit answered with the argument that was meant; the signature stays what it is.

    The steps of an error advise what the verb that was called can do, and name the data as the person wrote it.
    """
    signature = inspect.signature(verb)

    @functools.wraps(verb)
    def checked(*given: P.args, **named: P.kwargs) -> T:
        try:
            asked = signature.bind(*given, **named).arguments
        except TypeError:
            raise misused(verb.__name__, signature, given, named) from None
        try:
            check_given(signature.parameters, asked)
            if named.get("classes") is not None:
                named["classes"] = class_names(named["classes"])
            return verb(*given, **named)
        except DatastageError as error:
            error.remedy = tuple(possible(step, signature, (stage, loaders)) for step in error.remedy)
            parts = {part: asked.get(part) for part in ("val", "test", "labels")}
            name_data(error, _written(asked.get("data")), asked.get("batch_size"), parts)
            raise

    return checked


def _written(data: Any) -> str | None:
    """Return data as the person wrote it; None for what has no text of its own."""
    from datastage.staged import Staged

    if isinstance(data, os.PathLike) and not isinstance(data, Staged):
        return str(os.path.abspath(data))
    return data if isinstance(data, str) else None


@_answered
def stage(  # noqa: PLR0913
    spec: PathLike,
    *,
    fallbacks: Sequence[PathLike] = (),
    expect: str | None = None,
    root: PathLike | None = None,
    name: str | None = None,
    link: PathLike | None = None,
    members: Sequence[str] | str | None = None,
    unpack: bool | Literal["auto"] = "auto",
    strip: bool | Literal["auto"] = "auto",
    password: str | None = None,
    encoding: str | None = None,
    copy: bool = False,
    save_to: PathLike | None = None,
    refresh: bool = False,
    wait: float = 0.0,
    progress: Progress = "auto",
) -> Staged:
    r"""Put a dataset on this machine's fast disk, whole and checked, and return where it is.

    The same line twice does the work once.

    Parameters
    ----------
    spec : str or path
        A name of the catalog (``"cifar10"``), ``"drive:a.zip"``, a share link, an address, ``"kaggle:me/a"``, a path.
    fallbacks : sequence of str or path
        Further places for the same data, tried in order when the first gives nothing.
    expect : str, optional
        ``"md5:..."`` or ``"sha256:..."`` of the file that `spec` names, before unpacking.
    root : path, optional
        The folder under which the dataset's folder is made; else ``DATASTAGE_ROOT``, else the fast disk.
    name : str, optional
        What the dataset's folder is called; else the catalog's name, or the file's with a short hash.
    link : path, optional
        A folder in which the content appears under its own name, as a link, or as a copy where there are no links.
    members : sequence of str, optional
        Patterns such as ``"train/*"``: only these members of the archive.
    unpack : bool or "auto"
        Whether an archive is unpacked; ``"auto"`` keeps files whose name says that they are data (.npz, .pt).
    strip : bool or "auto"
        Whether one top folder is taken off; ``"auto"`` does so if it bears the archive's name.
    password : str, optional
        For a locked archive.
    encoding : str, optional
        The encoding of names in an archive that are not marked as UTF-8, such as ``"cp850"``; guessed if not given.
    copy : bool
        Copy even what can be used where it lies.
    save_to : str or path, optional
        Where the fetched file is kept for the next session, which looks there first: ``"drive:datasets"``,
        ``"/kaggle/working/data"``.
    refresh : bool
        Stage anew, whatever is there. Files of your own in the folder stay. A file kept by `save_to` comes last then,
        but where a digest proves it.
    wait : float
        Seconds to wait for the file of ``"upload:NAME"`` to appear where a person brings it; 0 only says how.
    progress : bool, "auto" or Reporter
        Who tells about progress: ``"auto"`` picks what suits a notebook, a terminal or a log; False is silent.

    Returns
    -------
    Staged
        A path that knows its receipt; the path of the file itself where a single file was staged.

    Raises
    ------
    SpecError
        If `spec` names nothing; says what is near.
    UnavailableError
        If no place had it: says what was tried, and the next steps, click by click.
    IntegrityError
        If the bytes are wrong: another hash, a damaged or hostile archive, a web page.
    StorageError
        If this machine will not take it: no room, no permission, a folder that is somebody's.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "iris.csv").write_text("5.1,3.5,1.4,0.2,setosa\n")
    >>> path = stage(folder / "iris.csv", root=folder / "staged", progress=False)
    >>> open(path).read()
    '5.1,3.5,1.4,0.2,setosa\n'
    """
    given = {name: value for name, value in locals().items() if name not in ("spec", "progress")}
    from datastage.options import StageOptions

    options = StageOptions.of(spec, **given)
    with _told(progress) as (here, reporter):
        return _staged(options, here, reporter)


@_answered
def loaders(  # noqa: PLR0913
    data: Any,
    batch_size: int,
    *,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    val: float | str | None = None,
    test: float | str | None = None,
    size: int | tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    mean: Sequence[float] | float | Literal["imagenet"] | None = None,
    std: Sequence[float] | float | Literal["imagenet"] | None = None,
    augment: Augment | Literal["auto"] | None = "auto",
    transform: Callable[..., Any] | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    device: str = "auto",
    dtype: str = "float32",
    memory_format: str = "contiguous",
    hold: bool = True,
    limit: int | None = None,
    seed: int = 0,
    unreadable: Literal["skip", "raise"] = "skip",
    cache: PathLike | None = None,
    cache_gb: float | None = None,
    progress: Progress = "auto",
) -> Loaders:
    """Feed a dataset to the accelerator: batches on the device, as fast as the device takes them.

    Parameters
    ----------
    data : str, path, Staged, pair of arrays, or mapping
        What `stage` takes or gave; a folder with a folder for each class; shards
        (``"s3://bucket/train-{000000..000127}.tar"``, their folder or ``index.json``); ``(images, labels)``, or a
        mapping from ``"train"``, ``"val"``, ``"test"`` to such pairs. Images are uint8 of shape (N, H, W, C) or
        (N, H, W), or float32 of shape (N, D).
    batch_size : int
        Samples in a batch.
    labels : optional
        Where labels are, if the data does not tell: a table (``"train.csv"``), its column (``"train.csv:label"``), a
        column (``"Survived"``), a mapping from file to label, a function of each picture's path, or a pattern with one
        group (``"(cat|dog)[.]"``).
    classes : sequence of str, optional
        An order of the classes, or a choice of them; of arrays of yours the names, by number.
    val, test : float or str, optional
        Shares of the training data to set aside, or the folder that holds the part. Of pictures without a test part
        10 % of each class are, unless ``test=0``.
    size : int or (int, int), optional
        Height and width, in pixels, that pictures are brought to. Else photos of one size come as they are, and photos
        of mixed sizes are brought to 224, or less where most are smaller, which a line says.
    fit : {"crop", "pad", "stretch"}
        For other proportions: the middle is cut out, the rest is filled with black, or they are stretched.
    mean, std : float, sequence of float, or "imagenet", optional
        What each channel is normalised by, for intensities from 0 to 1, also in evaluation. None is the catalog
        entry's own, and for other data intensities from 0 to 1.
    augment : Augment, "auto" or None
        ``"auto"`` is the catalog entry's own, and nothing for other data.
    transform : callable, optional
        For training alone: val and test never see it, so what evaluation needs too belongs in `mean`, `std`, `size` or
        the model. ``transform(batch, generator)`` or ``transform(batch)`` gets each uint8 (B, C, H, W) batch on the
        device and returns one; torchvision's are called for each picture. It is tried when the loader is made.
    shuffle, drop_last : bool
        Whether training draws its batches in a new order each epoch, and leaves out a last one that is not full.
    device : str
        ``"auto"``, or a name as torch knows it.
    dtype : str
        ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"uint8"``.
    memory_format : str
        ``"contiguous"`` or ``"channels_last"``.
    hold : bool
        Whether a part that fits is kept in the GPU's memory; False leaves that to the model and copies each batch.
    limit : int, optional
        Only so many samples of each part: for trying things out.
    seed : int
        Order and augmentation follow from it and the epoch alone.
    unreadable : {"skip", "raise"}
        Whether pictures that cannot be read are left out, listed and counted, or are an error.
    cache : path, optional
        The folder where photos are kept as pixels for the next time; it may lie on Drive or in ``/kaggle/working``.
        Else they are kept beside the staged data.
    cache_gb : float, optional
        How many gigabytes of disk shards and their pixels may take; the oldest go first. None is half of what is free.
    progress
        As for `stage`.

    Returns
    -------
    Loaders
        With ``.train``, ``.val`` and ``.test``; unpacks into those that there are.

    Raises
    ------
    SpecError, IntegrityError, MissingDependencyError
        If an option makes no sense for this data, the data is not what it should be, or torch or numpy is missing.
    """
    given = locals()
    from datastage.batches.open_data import open_data
    from datastage.batches.options import LoaderOptions

    asked: dict[str, Any] = {"labels": labels, "classes": classes, "cache": cache, "cache_gb": cache_gb}
    names = {field.name for field in fields(LoaderOptions)} & given.keys() - asked.keys()
    chosen = {name: given[name] for name in names}
    options = LoaderOptions(**{**chosen, "augment": None if augment == "auto" else augment})
    with _told(progress) as (here, reporter):
        return open_data(
            data,
            replace(options, reporter=reporter),
            auto_augment=augment == "auto",
            here=here,
            stage=_stager(here, reporter),
            **asked,
        )


@_answered
def read(
    data: PathLike,
    *,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    val: str | None = None,
    test: str | float | None = None,
    progress: Progress = "auto",
) -> Reading:
    """Tell what `loaders` would take this data for, from names and heads of tables alone; no picture is opened.

    Parameters
    ----------
    data : str, path or Staged
        What `stage` takes, or what it gave. What is not on this machine yet is staged first.
    labels, classes, val, test, progress
        As for `loaders`.

    Returns
    -------
    Reading
        The task, splits, classes in order, labels, what was left out; it prints as the lines that `loaders` says.

    Raises
    ------
    SpecError
        If two readings fit, or none: names both, what each would give, and the line to write.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     (folder / name).touch()
    >>> print(read(folder, progress=False))
    Classes   2, from folders: cat 2, dog 1
    """
    from datastage import datasets, layouts, store
    from datastage.batches.open_data import refuse_shards
    from datastage.options import FOR_LOADERS, StageOptions, check_data
    from datastage.sources import parse
    from datastage.staged import Staged

    check_data("read", data)
    staged = data if isinstance(data, Staged) else store.staged_at(Path(data).expanduser())
    with _told(progress) as (here, reporter):
        refuse_shards(data, here)
        if staged is None:
            unpack: Any = "auto" if parse(data).scheme == "name" else FOR_LOADERS
            staged = _staged(StageOptions.of(data, unpack=unpack), here, reporter, say_next=False)
    entry = datasets.of_receipt(staged.receipt)
    return layouts.of_entry(entry, staged.path, labels=labels, classes=classes, val=val, test=test)


@_answered
def feed(
    dataset: Any,
    batch_size: int | None = None,
    *,
    device: str = "auto",
    dtype: str = "float32",
    seed: int = 0,
    progress: Progress = "auto",
) -> Loader:
    """Feed any PyTorch Dataset or DataLoader to the device, with what suits this machine.

    A Dataset is shuffled. Of a DataLoader the dataset, order, batch size, ``collate_fn``, ``drop_last`` and workers are
    kept; one with its own sampler, ``generator=`` or ``__iter__`` is iterated unchanged. Where there are no workers,
    one makes and times the first two batches, and how many there will be follows from that.

    Parameters
    ----------
    dataset : torch Dataset or DataLoader
        What to feed, or anything that gives batches: tensors; tuples, lists, mappings and dataclasses of such; or
        objects with a ``to(device)`` of their own.
    batch_size : int, optional
        Samples in a batch; needed for a Dataset that has a length. Without it, what can only be iterated gives batches.
    device, seed, progress
        As for `loaders`.
    dtype : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``, which floating tensors are cast to. Whole numbers stay.

    Returns
    -------
    Loader
        Its batches are on the device; ``loader.explain()`` says what was chosen and why.

    Raises
    ------
    SpecError, MissingDependencyError
        If `dataset` gives no batches, or an option makes no sense for it; if torch is missing.
    """
    with _told(progress) as (_, reporter):
        from datastage.batches.devices import import_torch

        import_torch()  # or it says how to install it
        from datastage.batches.any_dataset import feed as fed

        return fed(dataset, batch_size=batch_size, device=device, dtype=dtype, seed=seed, reporter=reporter)


@_answered
def bench(
    data: Any,
    *,
    batch_size: int = 256,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    device: str = "auto",
    progress: Progress = "auto",
) -> tuple[Row, ...]:
    """Time the feed of this data on this machine, beside a plain DataLoader over the same samples.

    Parameters
    ----------
    data, batch_size, labels, classes, size, device, progress
        As for `loaders`.

    Returns
    -------
    tuple of Row
        For each way: seconds until the first batch, images a second, and cores kept busy.
    """
    # First: it says what is not installed.
    made = loaders(data, batch_size, labels=labels, classes=classes, size=size, device=device, progress=progress)
    from datastage.batches import benchmark

    return benchmark.bench(made)


@_answered
def extract(
    archive: PathLike,
    to: PathLike,
    *,
    members: Sequence[str] | str | None = None,
    strip: bool = False,
    password: str | None = None,
    encoding: str | None = None,
    nested: bool = False,
    progress: Progress = "auto",
) -> Staged:
    """Unpack an archive into a folder: all of it, checked, or nothing.

    Parameters
    ----------
    archive : path
        The archive; its format is told by its content.
    to : path
        The folder to make. One that is there is filled, a mount point and the working directory too: nothing in it is
        replaced, and after an error all that came is taken away.
    strip : bool
        Whether one top folder that holds everything is taken off.
    members, password, encoding, progress
        As for `stage`.
    nested : bool
        Whether archives in the archive are unpacked too, each in a folder of its name.

    Returns
    -------
    Staged
        The folder, with its receipt.

    Raises
    ------
    SpecError, UnavailableError, IntegrityError, StorageError
        If `archive` is none or not there; is damaged, locked, or would do harm; if `to` holds a file that it holds too,
        or this machine will not take it. Nothing of it is left then.
    """
    from datastage import extracting, options

    with _told(progress) as (here, reporter):
        return extracting.extract(
            Path(archive).expanduser(),
            Path(os.path.abspath(options.folder_named("to", to))),
            here,
            members=None if members is None else options.one_by_one(members),
            strip=strip,
            password=password,
            encoding=encoding,
            nested=nested,
            reporter=reporter,
        )


@_answered
def members(archive: PathLike, *, password: str | None = None, encoding: str | None = None) -> list[Member]:
    """List what is in an archive, without unpacking it.

    Parameters
    ----------
    archive, password, encoding
        As for `extract`; most archives list their names without a password.

    Returns
    -------
    list of Member
        In the archive's own order, junk included; ``.size`` is in bytes.

    Raises
    ------
    SpecError, UnavailableError, IntegrityError
        As for `extract`.
    """
    from datastage import archives, extracting

    with _told(False) as (here, _), extracting.open_archive(Path(archive).expanduser(), here) as reader:
        return archives.list_members(reader, password=password, encoding=encoding)


@_answered
def zip_folder(folder: PathLike, archive: PathLike, *, progress: Progress = "auto") -> Path:
    """Pack a folder into one zip: thousands of small files on Drive become one that copies at full speed.

    Parameters
    ----------
    folder : str or path
        A folder, or ``"drive:photos"``.
    archive : str or path
        The zip to make, or ``"drive:photos.zip"``. It must not exist.
    progress
        As for `stage`.

    Returns
    -------
    Path
        The zip, which holds the folder under its own name.

    Raises
    ------
    SpecError, UnavailableError, IntegrityError, StorageError
        If `folder` is not there, holds no files, or cannot be read; if `archive` is there, or cannot be written.
    """
    from datastage import zipping

    with _told(progress) as (here, reporter):
        return zipping.zip_folder(folder, archive, here, reporter)


@_answered
def pack(
    data: PathLike | Staged,
    to: PathLike,
    *,
    shards: str | int = "256MB",
    size: int | None = None,
    engine: Literal["local", "ray"] = "local",
    labels: Any = None,
    classes: Sequence[str] | None = None,
    val: float | str | None = None,
    test: float | str | None = None,
    progress: Progress = "auto",
) -> Packed:
    """Pack pictures into shards: WebDataset tars with an index, for data that is past one disk or one machine.

    Each part of the data becomes ``train-000000.tar``, ``val-...``, ``test-...``; a sample is its picture and its label
    (``.cls``, the number of its class, or ``.json``). A run that was stopped goes on: whole shards stay as they are.

    Parameters
    ----------
    data : str, path or Staged
        What `loaders` takes: a folder, a zip, a name, a place. Its labels are read in the same way.
    to : str or path
        The folder for the shards, also of Drive or a bucket: ``"drive:shards"``, ``"s3://bucket/photos"``, ``"gs://"``,
        ``"az://"``. Nothing in it that is not of this packing is replaced.
    shards : str or int
        About how long a shard is: ``"256MB"``, or a number of bytes.
    size : int, optional
        The pixels that the short side of larger pictures is brought to, as JPEG of quality 90; others stay as they are.
    engine : {"local", "ray"}
        This process on all its cores, or a Ray Data job where ``RAY_ADDRESS`` says, else on this machine. All its nodes
        must see `data` and `to`, and hold datastage.
    labels, classes, val, test, progress
        As for `loaders`; what `loaders` would set aside is set aside here.

    Returns
    -------
    Packed
        ``.to``, ``.samples``, ``.index``; shards ``.written`` now and ``.kept``; ``.damaged``, the unreadable pictures.

    Raises
    ------
    SpecError, UnavailableError, IntegrityError, StorageError, MissingDependencyError
        If the data holds no picture that can be read, its labels must be asked for, or it cannot be had; if `to` holds
        something else, or takes no more; if Ray, or obstore for a bucket, is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
    ...     (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
    ...     Image.new("RGB", (8, 8)).save(folder / "photos" / name)
    >>> packed = pack(folder / "photos", folder / "shards", test=0, progress=False)
    >>> packed.samples, [shard.name for shard in packed.index.shards]
    (3, ['train-000000.tar'])
    """
    from datastage.packing import PackOptions
    from datastage.packing import pack as packing

    options = PackOptions(shards, size, engine, labels, classes, val, test)
    with _told(progress) as (here, reporter):
        return packing(data, to, options, here, reporter, _stager(here, reporter))


@_answered
def verify(
    staged: PathLike | Staged,
    *,
    repair: bool = False,
    adopt: bool = False,
    password: str | None = None,
    progress: Progress = "auto",
) -> Verification:
    """Read every file of a staged folder again and compare it with the receipt.

    Parameters
    ----------
    staged : Staged or path
        What `stage` gave, or the folder.
    repair : bool
        Bring what is damaged or missing again from where it came, and put it in its place.
    adopt : bool
        Take over a folder that was moved or copied, if every file in it is as its list says.
    password : str, optional
        For `repair` from a locked archive.
    progress
        As for `stage`.

    Returns
    -------
    Verification
        Paths that are damaged, missing or extra, and those that were mended; ``.ok`` if the content is whole now.

    Raises
    ------
    SpecError, IntegrityError, UnavailableError
        If datastage did not stage the folder; if its list is damaged; if `repair` finds other bytes, or no source.
    """
    from datastage import repair as repairing

    with _told(progress) as (here, reporter):
        return repairing.verify(staged, here, repair=repair, adopt=adopt, password=password, reporter=reporter)


@_answered
def clean(
    names: Sequence[str] | str = (),
    *,
    older_than: str | float | None = None,
    budget: str | int | None = None,
    root: PathLike | None = None,
    dry_run: bool = False,
) -> tuple[Removable, ...]:
    """Remove what killed runs left behind and, if asked, datasets that were not used for long. Never what is in use.

    Only what this user staged is looked at. A dataset that holds files which were not staged stays unless it is named.
    Shards that were brought to train on count as a dataset, under the name of their folder.

    Parameters
    ----------
    names : sequence of str, optional
        Datasets that go, by the names of their folders, whatever is in them.
    older_than : str or float, optional
        Datasets that were not asked for in this time go: ``"30d"``, ``"12h"``, or a number of days.
    budget : str or int, optional
        The datasets that were not asked for longest go, until the rest fits: ``"20 GB"``, or a number of bytes.
    root : path, optional
        The folder under which the datasets are; else where `stage` puts them.
    dry_run : bool
        Only say what would go. Nothing at all is changed.

    Returns
    -------
    tuple of Removable
        What went, or would go, or stays (``.stays``): path, bytes, and why.

    Raises
    ------
    SpecError, StorageError
        If a time, a size or a name makes no sense; if something cannot be removed, which the rest has been.
    """
    from datastage import cleanup
    from datastage.options import one_by_one

    with _told(False) as (here, _):
        return cleanup.clean(
            None if root is None else Path(root),
            here,
            names=one_by_one(names),
            older_than=older_than,
            budget=budget,
            dry_run=dry_run,
        )


def doctor() -> Report:
    """Look at this machine: what it offers for staging and feeding, and what is in the way.

    The runtime, the accelerator (torch is tried on it in a process of its own), memory, disks, Google Drive, the
    internet (only hosts of the catalog are asked), inputs, libraries, settings. Nothing is changed.

    Returns
    -------
    Report
        It prints as lines; ``.troubles`` holds what is in the way, each with its ``.remedy``; ``.to_dict()`` gives
        plain values for a report, without secrets and names of users.
    """
    from datastage.show.doctor import examine

    with _told(False) as (here, _):
        return examine(here)


@_answered
def preview(data: Any, *, n: int = 16, labels: Any = None, out: PathLike | None = None) -> Figure:
    """Draw samples of data with their labels: a grid of pictures, or the first rows of a table.

    Where training gets something else (augmentation, a transform), a second grid shows that. A loader is not used up.
    What `loaders` does not take is shown as it lies: pictures without labels, waves of sounds, beginnings of texts.

    Parameters
    ----------
    data : path, Staged, Loaders, Loader, Dataset or DataLoader
        What `loaders` or `feed` takes or gives.
    n : int
        How many samples are drawn, from all over the data.
    labels
        As for `loaders`.
    out : path, optional
        A file to write the picture to, such as ``"preview.png"``.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it.

    Raises
    ------
    SpecError, StorageError, MissingDependencyError
        If the data cannot be drawn; if `out` is no name of a picture, or cannot be written; without matplotlib.
    """
    from datastage.batches.loader import Loaders
    from datastage.show import pictures, unread

    figure = None
    if isinstance(data, Loaders):
        data = data.train
    elif isinstance(data, str | os.PathLike):
        given: PathLike = data
        try:
            data = loaders(given, batch_size=n, labels=labels, device="cpu", progress=False).train
            if not pictures.is_of_pictures(data):
                figure = unread.first_rows(unread.listed(_place_of(given)), n)
        except SpecError:  # nobody can tell the labels: a picture is no place to guess, but may show what lies there
            if labels is not None or (figure := unread.preview(unread.listed(_place_of(given)), n)) is None:
                raise
    elif not hasattr(data, "explain"):
        data = _fed(data, n)
    return _saved(pictures.preview(data, n) if figure is None else figure, out)


@_answered
def summary(data: Any, *, labels: Any = None, out: PathLike | None = None) -> Figure:
    """Draw what data is made of: samples of each class by split, sizes of the pictures, what was left out and why.

    Of what `loaders` does not take: the columns of a table, or how many files each folder holds.

    Parameters
    ----------
    data : path, Staged, Loaders, Loader, Dataset or DataLoader
        What `read` takes, what `loaders` gives, or what `feed` takes.
    labels, out
        As for `preview`.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it. The red square is the size that `loaders` would bring pictures of mixed sizes to.

    Raises
    ------
    SpecError, StorageError, MissingDependencyError
        As for `preview`.
    """
    from datastage.batches.loader import Loader, Loaders
    from datastage.batches.photos import square_of
    from datastage.show import pictures, unread

    if not isinstance(data, Loader | Loaders | str | os.PathLike):
        data = _fed(data, 1)
    if isinstance(data, Loader | Loaders):
        parts = [data] if isinstance(data, Loader) else list(data)
        counts, said = pictures.counts_of_loaders(parts)
        sizes = pictures.sizes_of_samples(parts)
        sizes = sizes if len(set(sizes)) > 1 else []
    else:
        try:
            reading = read(data, labels=labels, progress=False)
        except SpecError:
            if labels is None and (figure := unread.summary(unread.listed(_place_of(data)))) is not None:
                return _saved(figure, out)
            raise
        counts, (sizes, damaged) = pictures.counts_of(reading), pictures.sizes_of(reading, _place_of(data))
        said = [line for line in reading.lines() if line.startswith("Left out")] + pictures.said_of(damaged)
    square = square_of(sizes) if len(set(sizes)) > 1 else 0
    return _saved(pictures.summary(counts, sizes, square, said), out)


def _place_of(data: PathLike) -> Path:
    """Return where single files of data can be opened: of an archive that is no zip, where it is unpacked."""
    import zipfile

    from datastage.layouts import files

    path = Path(data).expanduser()
    can_be_opened = path.is_dir() or (path.is_file() and (zipfile.is_zipfile(path) or files.is_alone(path)))
    return path if can_be_opened else Path(stage(data, progress=False))


def _fed(data: Any, n: int) -> Loader:
    """Feed what a user has of their own; a DataLoader in its own batches."""
    return feed(data, None if hasattr(data, "batch_size") else n, device="cpu", progress=False)


def _saved(figure: Figure, out: PathLike | None) -> Figure:
    if out is not None:
        step = "Next: another out=, in a folder that is there and that you may write to."
        try:
            with while_doing(f"writing {out}", step):
                figure.savefig(out, dpi=120)
        except ValueError as error:  # matplotlib names the kinds that it writes
            raise SpecError(f"{error}.", "Next: a name that ends in .png, .svg or .pdf.") from error
    return figure


def catalog() -> tuple[Entry | ArchiveEntry, ...]:
    """Return the datasets that have a name.

    Examples
    --------
    >>> [entry.name for entry in catalog()][:2]
    ['cifar10', 'cifar100']
    """
    from datastage import datasets

    return datasets.catalog()


@_answered
def catalog_line(archive: PathLike, *, progress: Progress = "auto") -> str:
    """Return the line of a text catalog for an archive: name, place, digest. Every byte of it is read.

    Raises
    ------
    SpecError, UnavailableError
        If `archive` names no file, or it cannot be had.

    Examples
    --------
    >>> catalog_line("./birds.zip")  # doctest: +SKIP
    'birds https://ADDRESS/birds.zip sha256:3f9a...  # 12 MB'
    """
    from datastage import course

    with _told(progress) as (here, reporter):
        return course.catalog_line(os.fspath(archive), here, reporter)


@_answered
def check_catalog(*names: str) -> list[Checked]:
    """Look at every place of the datasets with these names; without names at your own, or at all if you have none.

    Your own are those that were registered or stand in ``DATASTAGE_CATALOG``. Nothing is fetched. Each result has
    ``name``, ``file``, ``place``, ``seen``, ``trouble``, which is None where all is well, and ``notes``: what a class
    of many would meet there.
    """
    from datastage import course

    with _told(False) as (here, _):
        return course.check_catalog(names, here)


@_answered
def register(
    entry: Entry | ArchiveEntry | str,
    spec: PathLike | None = None,
    *,
    fallbacks: Sequence[PathLike] = (),
    expect: str | None = None,
    title: str | None = None,
    licence: str = "none stated",
    citation: str = "",
) -> None:
    """Give a dataset of your own a name, so that ``stage(name)`` and ``loaders(name, ...)`` find it.

    Parameters
    ----------
    entry : str, Entry or ArchiveEntry
        The name, with `spec`; or all that is known of a dataset.
    spec : str or path, optional
        Where its archive lies: an address, ``"drive:birds.zip"``, a path.
    fallbacks : sequence of str or path
        Further places of the same archive, tried in order.
    expect : str, optional
        ``"md5:..."`` or ``"sha256:..."`` of the archive; every place must give these bytes.
    title : str, optional
        Its proper name; else the name itself.
    licence, citation : str
        As its authors give them.

    Raises
    ------
    SpecError
        If the name is taken or is no name, or the spec names nothing.

    Examples
    --------
    >>> register("my_birds", "https://example.org/birds.zip", expect="md5:" + 32 * "0")
    >>> [entry.places for entry in catalog() if entry.name == "my_birds"]
    [('https://example.org/birds.zip',)]
    """
    from datastage import datasets
    from datastage.options import StageOptions, one_by_one
    from datastage.sources import parse

    if isinstance(entry, str):
        if spec is None:
            raise SpecError(f"register({entry!r}) names no place.", f'Next: register({entry!r}, "https://...").')
        places = tuple(parse(place).text for place in (spec, *one_by_one(fallbacks)))
        StageOptions.of(places[0], fallbacks=places[1:], expect=expect)  # refuses what is wrong, now
        entry = datasets.ArchiveEntry(entry, title or entry, places, expect, licence=licence, citation=citation)
    datasets.register(entry)


@_answered
def cell(
    spec: PathLike,
    *,
    wheel: str | None = None,
    embed: bool = False,
    catalog: PathLike | None = None,
    fallbacks: Sequence[PathLike] = (),
    save_to: PathLike | None = None,
) -> str:
    """Return the text of a setup cell that puts datastage into a notebook and stages `spec`.

    Parameters
    ----------
    spec : str or path
        What the cell stages.
    wheel : str, optional
        The address of the wheel, for notebooks that can install.
    embed : bool
        Carry the tool inside the cell: nothing to install and no internet needed.
    catalog : path, optional
        A text catalog; the cell carries the line of `spec`, as it does of a name that was registered.
    fallbacks, save_to
        As for `stage`.

    Returns
    -------
    str
        Python text to paste.

    Raises
    ------
    SpecError
        If a name is unknown or its entry holds Python code, or an address holds a secret.

    Examples
    --------
    >>> print(cell("cifar10", embed=True).splitlines()[-1])
    import datastage; path = datastage.stage("cifar10")
    """
    from datastage import datasets, sources
    from datastage.options import one_by_one
    from datastage.show.cell import cell as make
    from datastage.spec import as_text

    listed = datasets.read_catalog(Path(catalog)) if catalog is not None else ()
    spec, *more = map(as_text, (spec, *one_by_one(fallbacks)))
    asked = sources.parse(spec)
    own = {entry.name: entry for entry in (*datasets.own(), *listed)}.get(spec) if asked.scheme == "name" else None
    if asked.scheme == "name" and own is None:
        datasets.get(asked.value)
    for place in (spec, *more, *getattr(own, "places", ())):
        if str(sources.parse(place)).startswith(("http://...@", "https://...@")):
            raise SpecError(
                "The address holds a user name or a password, and whoever gets the cell could read it.",
                "Next: an address that needs none, such as a share link.",
            )
    given: dict[str, Any] = {"fallbacks": more, "save_to": None if save_to is None else os.fspath(save_to)}
    return make(
        spec, wheel=wheel, embed=embed, own=own, options={name: value for name, value in given.items() if value}
    )


def _stager(here: Runtime, reporter: Reporter) -> Callable[..., Staged]:
    from datastage.options import StageOptions

    return lambda spec, **named: _staged(StageOptions.of(spec, **named), here, reporter, say_next=False)


def _staged(options: StageOptions, here: Runtime, reporter: Reporter, *, say_next: bool = True) -> Staged:
    """Stage, and say what was staged; what to do next only where the caller does not do it already."""
    from datastage import show, staging

    try:
        staged = staging.stage(options, here, reporter=reporter)
    finally:
        close(reporter)
    if reporter is not SILENT:
        for line in show.staged_lines(staged, here):
            if say_next or not line.startswith("Next:"):
                reporter.note(line)
    return staged


@contextlib.contextmanager
def _told(progress: Progress) -> Iterator[tuple[Runtime, Reporter]]:
    """Give where we are and who is told; whatever was drawn is taken down, and a fault of ours is put in words."""
    from datastage import runtime
    from datastage.faults import reported

    here = runtime.current()
    if progress is False:
        reporter: Reporter = SILENT
    elif progress is True or progress == "auto":
        from datastage import show

        reporter = show.pick(progress, here)
    elif not hasattr(progress, "phase"):
        raise SpecError(f"progress={progress!r} is no choice.", "Next: progress=True, False, 'auto' or a Reporter.")
    else:
        reporter = progress
    try:
        with stopped_in_two_lines(lambda: getattr(reporter, "kept", "")), reported():
            yield here, reporter
    finally:
        close(reporter)
