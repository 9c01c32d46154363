"""What `stage` was asked for: one frozen value, checked when it is made."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datastage import archives, slots, sources
from datastage.errors import SpecError
from datastage.spec import DIGEST, Spec, parse_file

FOR_LOADERS: Literal["for loaders"] = "for loaders"
"""As "auto", but a zip of pictures is kept as it is: its pictures are read where they lie."""


def folder_named(option: str, value: str | os.PathLike[str]) -> Path:
    """Return the folder that `value` names; the name of a place elsewhere is refused."""
    if isinstance(value, str) and re.match(r"drive:|\w+://", value):
        kept = f", or save_to={value!r} to keep the file there" if option == "root" else ""
        near = parse_file(value, "file", value[5:]).value if value.startswith("file:") else "data"
        raise SpecError(
            f"{option}= is a folder of this machine, and {value} is none.", f"Next: {option}={near!r}{kept}."
        )
    return Path(value).expanduser()


def check_data(verb: str, data: Any, more: str = "", step: str = "name a folder or a zip.") -> None:
    """Refuse what is neither a text nor a path, which are what `stage` and all verbs for data take."""
    if not isinstance(data, str | os.PathLike):
        raise SpecError(f"{verb}() takes what stage() takes{more}, not {type(data).__name__}.", f"Next: {step}")


def one_by_one(value: Any) -> tuple[Any, ...]:
    """Return what was named as one or as several; nothing for None."""
    return (value,) if isinstance(value, str | os.PathLike) else tuple(value or ())


@dataclass(frozen=True, slots=True)
class StageOptions:
    """What `stage` was asked for, checked; see `datastage.stage` for each option."""

    spec: Spec
    fallbacks: tuple[Spec, ...] = ()
    expect: str | None = None
    root: Path | None = None
    name: str | None = None
    link: Path | None = None
    members: tuple[str, ...] | None = None
    unpack: bool | Literal["auto", "for loaders"] = "auto"
    strip: bool | Literal["auto"] = "auto"
    password: str | None = field(default=None, repr=False)
    encoding: str | None = None
    copy: bool = False
    save_to: Spec | None = None
    refresh: bool = False
    wait: float = 0.0
    may_lack: bool = False  # of what is repaired: then each file is compared, and what is missing is said
    nested: bool = False  # an entry of the catalog says so, or the receipt of what is repaired

    @classmethod
    def of(cls, spec: str | os.PathLike[str], **options: Any) -> StageOptions:
        """Make the options of what a user wrote: texts become specs and paths."""
        for name in ("root", "link"):
            if (value := options.get(name)) is not None:
                options[name] = folder_named(name, value)
        if (save_to := options.get("save_to")) is not None:
            from datastage import saved_copy  # what every request imports is waited for each time

            options["save_to"] = saved_copy.parse(save_to)
        if options.get("members") is not None:
            options["members"] = one_by_one(options["members"])
        options["fallbacks"] = tuple(map(sources.parse, one_by_one(options.get("fallbacks"))))
        return cls(sources.parse(spec), **options)

    def __post_init__(self) -> None:
        for option in ("unpack", "strip"):
            if (value := getattr(self, option)) not in (True, False, "auto", FOR_LOADERS):
                raise SpecError(f"{option}={value!r} is no choice.", f"Next: {option}=True, False or 'auto'.")
        if self.members is not None and not self.members:
            raise SpecError("members= names nothing.", "Next: leave it out, or give patterns such as ['train/*'].")
        if self.wait and all(spec.scheme != "upload" for spec in (self.spec, *self.fallbacks)):
            raise SpecError("wait= is for a file that somebody brings: upload:NAME.", "Next: leave it out.")
        if self.encoding is not None:
            archives.codec_of(self.encoding)
        # Of a name all files are known: ignored, expect= would seem to have checked something.
        plain = {"expect": None, "members": None, "unpack": "auto", "strip": "auto", "password": None, "encoding": None}
        given = [option for option, value in plain.items() if getattr(self, option) != value]
        if given and self.spec.scheme == "name":
            raise SpecError(
                f"{given[0]}= is for a file or an archive; the files of {self.spec} are known, and each is checked.",
                f"Next: leave {given[0]}= out, or name the file itself.",
            )
        many = [spec for spec in (self.spec, *self.fallbacks) if spec.scheme == "list"]
        if many and (one := next((option for option in ("expect", "members") if getattr(self, option)), None)):
            raise SpecError(
                f"{one}= is of one file, and {many[0]} names several.", f"Next: leave {one}= out, or name one file."
            )
        if self.expect is not None and not DIGEST.fullmatch(self.expect):
            raise SpecError(
                f"expect={self.expect!r} is not a hash.",
                "Next: expect='md5:' and 32 hexadecimal digits, or 'sha256:' and 64.",
            )

    @property
    def digests(self) -> dict[str, str]:
        """The expected digests of the file, by algorithm; empty if none was given."""
        algorithm, _, digest = (self.expect or "").lower().partition(":")
        return {algorithm: digest} if self.expect else {}

    def source_key(self, cwd: Path) -> str:
        """Return the key of where the bytes come from, whatever is done with them."""
        return slots.request_key(self._source(cwd))

    def key(self, cwd: Path) -> str:
        """Return the key of the request: where the bytes come from, and the options that change the content."""
        options = {name: getattr(self, name) for name in ("expect", "members", "unpack", "strip")}
        if self.encoding is not None:
            options["encoding"] = self.encoding
        # A dataset of the catalog is always copied.
        copy = self.copy and self.spec.scheme != "name"
        return slots.request_key({**self._source(cwd), **options, "copy": copy})

    def _source(self, cwd: Path) -> dict[str, Any]:
        return {"scheme": self.spec.scheme, "value": sources.key_of(self.spec, cwd), "parts": self.spec.parts}
