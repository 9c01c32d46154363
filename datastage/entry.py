"""What a dataset of the catalog is: the facts that are published about it, and the function that reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, TypeVar

from datastage.errors import SpecError, as_published
from datastage.redact import hide_secrets

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"
"""Images, uint8 (N, H, W, C) with intensities 0 to 255, or a table, float32 (N, D); and labels, int64 (N,)."""

Read: TypeAlias = "Callable[[Path, str], Arrays]"
"""A function of the staged folder and the name of a split that gives its `Arrays`."""

Lists: TypeAlias = "Callable[[Path], tuple[tuple[str, ...], dict[str, dict[str, Any]]]]"
"""A function of the staged folder that gives the classes in their order and, for each part, pictures and their labels.

A picture is its path in the folder; its label the name of a class, or a row of 0 and 1, one for each class.
"""


T = TypeVar("T")
PACKAGE = "package:"
"""The beginning of a place that is a file of an installed package."""


def one_of(parts: Mapping[str, T], split: str) -> T:
    """Return what belongs to a part; raises `SpecError` if there is no such part."""
    if split not in parts:
        raise SpecError(f"There is no split {split!r}.", f"Next: one of {', '.join(parts)}.")
    return parts[split]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the staged folder.

    - `path`: where it lies there, with forward slashes: ``"cifar-10-batches-py/data_batch_1"``.
    - `size`: its length in bytes.
    - `md5`: the published digest; None only where none was ever published, and then name and size must do.
    - `content`: the file itself, where it is short and known: it is written if the others are found and it is not.
    """

    path: str
    size: int
    md5: str | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """A file that the network has. An entry needs all of its downloads.

    - `name`: the published name: ``"cifar-10-python.tar.gz"``.
    - `size`: bytes; None where the mirrors hold different texts of the same table, told by their content.
    - `md5`: the digest that every mirror must give; None as for `size`.
    - `urls`: addresses in the order in which to try them: fast copies first, the publisher last.
    """

    name: str
    size: int | None
    md5: str | None
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lookalike:
    """What people upload in good faith in place of the right files, so that it can be called by its name."""

    found: str  # "the Matlab version:  data_batch_1.mat ... test_batch.mat"
    needed: str = ""  # empty for the entry's own
    names: tuple[str, ...] = ()  # patterns in small letters for "/NAME OF THE FOLDER/path/in/it"
    sizes: tuple[int, ...] = ()  # that tell it, whatever the file is called
    md5: tuple[str, ...] = ()  # of files of the right size that are of the other set


class Converter(Protocol):
    """What makes the files `gives` of another form of the data, such as a table of pixels, of a size within `sizes`."""

    @property
    def gives(self) -> tuple[str, ...]: ...
    @property
    def sizes(self) -> tuple[int, int]: ...

    def fits(self, head: bytes) -> bool:
        """Say whether a file that begins like this can be the other form."""

    def convert(self, stream: BinaryIO, into: Path) -> tuple[str, ...] | str:
        """Write files under `into` and return their paths; or return, in a person's words, what this is instead."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A dataset of the catalog.

    - `name`, `title`: the word that users write, ``"cifar10"``; its proper name, ``"CIFAR-10"``.
    - `files`: those of the staged folder, in the layout that torchvision expects where it knows the dataset.
    - `read`: gives the arrays of a split, from the staged folder: ``read(path, "train")``.
    - `downloads`: what the network has; empty if it is nowhere to be downloaded.
    - `converters`: other forms that the files can be made of.
    - `lookalikes`: what people upload by mistake.
    - `package_data`: folders of installed packages that may hold it: ``"sklearn/datasets/data"``.
    - `licence`, `citation`, `homepage`: as published; the licence may be ``"none stated"``.
    - `shape`: of one image (height, width, channels), or of one row of a table.
    - `dtype`: of the images or rows as read: ``"uint8"`` or ``"float32"``.
    - `classes`: names of the classes in the order of the labels.
    - `mean`, `std`: one for each channel of the training images divided by 255, or for each column of a table as it is.
    - `augment`: what ``augment="auto"`` means, as arguments of `datastage.Augment`: ``{"crop": 4, "flip": True}``.
    - `splits`: the splits and their lengths: ``{"train": 50000, "test": 10000}``.
    - `needed`: the files that are needed, as a person would tell them from other versions.
    - `search_words`: what to type into Kaggle's search for it.
    - `shows`: what the files of a right search result are called.
    """

    name: str
    title: str
    files: tuple[File, ...]
    read: Read
    downloads: tuple[Download, ...] = ()
    converters: tuple[Converter, ...] = ()
    lookalikes: tuple[Lookalike, ...] = ()
    package_data: tuple[str, ...] = ()
    licence: str = "none stated"
    citation: str = ""
    homepage: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: Mapping[str, int | bool] | None = None
    splits: Mapping[str, int] = field(default_factory=dict)
    needed: str = ""
    search_words: str = ""
    shows: str = ""

    @property
    def n_bytes(self) -> int:
        """Bytes of the staged files together."""
        return sum(file.size for file in self.files)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The downloads, as an `ArchiveEntry` has its files."""
        return tuple(Part(d.name, d.urls, f"md5:{d.md5}" if d.md5 else None, d.size) for d in self.downloads)

    @property
    def download_bytes(self) -> int | None:
        """Bytes that the downloads have together; None where a size is not known."""
        sizes = [download.size for download in self.downloads]
        return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)

    def read_split(self, path: Path, split: str) -> Arrays:
        """Return the arrays of a split; `IntegrityError` if the files are not as they were published."""
        with as_published(self.title, path):
            return self.read(path, split)


@dataclass(frozen=True, slots=True)
class Part:
    """A further file of an `ArchiveEntry`: where it is had, its digest and size, and the folder for what is in it."""

    name: str
    places: tuple[str, ...]
    expect: str | None = None
    size: int | None = None
    into: str = ""
    unpack: bool = True

    @property
    def addresses(self) -> list[str]:
        """The specs that are not files of installed packages."""
        return [place for place in self.places if not place.startswith(PACKAGE)]


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A dataset of the catalog that is an archive or a few files, known by their digests alone; its layout is read.

    Fields that an `Entry` has too mean the same here.

    - `places`: specs of the archive, such as addresses or ``"drive:birds.zip"``, in the order in which to try them.
    - `expect`: ``"md5:..."`` or ``"sha256:..."`` of the archive; None where nobody published one: its size must do.
    - `size`: bytes of the archive, where they are known.
    - `file`: the archive's published name; empty for that of its first address.
    - `into`: the folder, in the staged one, for what is in the archive; empty for the staged folder itself.
    - `unpack`, `nested`: whether it is unpacked, and whether archives in it are, too.
    - `more`: further files.
    - `task`: ``"classification"``, ``"regression"``, ``"multi-label"``, ``"detection"``, ``"text"``, ...
    - `labels`: what `datastage.loaders` takes as ``labels=`` for it; empty where its layout tells.
    - `read`: gives the arrays of a split, where they lie in a form of the publisher's own; `splits` names the splits.
    - `lists`: gives the parts and labels of pictures, where lists of the publisher's own form say them.
    - `names`: what folders mean: the names of classes by their codes.
    - `classes`: empty where the files tell them.
    - `mirror`: whether copies may be published: not where the licence forbids it, or people must agree to terms.
    """

    name: str
    title: str
    places: tuple[str, ...]
    expect: str | None = None
    size: int | None = None
    licence: str = "none stated"
    citation: str = ""
    homepage: str = ""
    file: str = ""
    into: str = ""
    unpack: bool = True
    nested: bool = False
    more: tuple[Part, ...] = ()
    task: str = "classification"
    labels: str = ""
    read: Read | None = None
    lists: Lists | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    splits: Mapping[str, int] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: Mapping[str, int | bool] | None = None
    lookalikes: tuple[Lookalike, ...] = ()
    search_words: str = ""
    mirror: bool = True

    @property
    def parts(self) -> tuple[Part, ...]:
        """All its files: the archive, then `more`."""
        from urllib.parse import unquote

        name = self.file or (unquote(self.places[0].partition("?")[0].rpartition("/")[2]) if self.places else self.name)
        return (Part(name, self.places, self.expect, self.size, self.into, self.unpack), *self.more)

    @property
    def shown_places(self) -> list[str]:
        """The places of all its files, secrets removed."""
        return [hide_secrets(place) for part in self.parts for place in part.places]

    @property
    def download_bytes(self) -> int | None:
        """Bytes of all its files; None where they are not known."""
        sizes = [part.size for part in self.parts]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def n_bytes(self) -> int:
        """Bytes of all its files; 0 where they are not known."""
        return self.download_bytes or 0
