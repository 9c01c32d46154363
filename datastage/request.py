"""What `stage` was asked for, and the key that is the same only for the same request.

Here: the request and its checks. Not here: what is done about it (`staging`, `contents`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datastage import place, sources
from datastage.errors import SpecError
from datastage.spec import Spec

FOR_LOADERS: Literal["for loaders"] = "for loaders"
"""As "auto", but a zip of pictures is kept as it is: its pictures are read where they lie."""
_HEX_DIGITS = {"md5": 32, "sha256": 64}


@dataclass(frozen=True, slots=True)
class Request:
    """What `stage` was asked for; see `datastage.stage` for each option."""

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
    copy: bool = False
    save_to: Spec | None = None
    refresh: bool = False

    def __post_init__(self) -> None:
        for option in ("unpack", "strip"):
            if (value := getattr(self, option)) not in (True, False, "auto", FOR_LOADERS):
                raise SpecError(f"{option}={value!r} is no choice.", f"Next: {option}=True, False or 'auto'.")
        if self.members is not None and not self.members:
            raise SpecError("members= names nothing.", "Next: leave it out, or give patterns such as ['train/*'].")
        if self.spec.scheme == "name":
            self._check_name()
        if self.expect is None:
            return
        algorithm, _, digest = self.expect.lower().partition(":")
        if len(digest) != _HEX_DIGITS.get(algorithm) or set(digest) - set("0123456789abcdef"):
            raise SpecError(
                f"expect={self.expect!r} is not a hash.",
                "Next: expect='md5:' and 32 hexadecimal digits, or 'sha256:' and 64.",
            )

    def _check_name(self) -> None:
        # Ignored, expect= would seem to have checked something.
        plain = {"expect": None, "members": None, "unpack": "auto", "strip": "auto", "password": None}
        given = [option for option, value in plain.items() if getattr(self, option) != value]
        if given:
            raise SpecError(
                f"{given[0]}= is for a file or an archive; the files of {self.spec} are known, and each is checked.",
                f"Next: leave {given[0]}= out, or name the file itself.",
            )

    @property
    def digests(self) -> dict[str, str]:
        """The expected digests of the file, by algorithm; empty if none was given."""
        algorithm, _, digest = (self.expect or "").lower().partition(":")
        return {algorithm: digest} if self.expect else {}

    def source_key(self, cwd: Path) -> str:
        """Return the key of where the bytes come from, whatever is done with them."""
        return place.request_key(self._source(cwd))

    def key(self, cwd: Path) -> str:
        """Return the key of the request: where the bytes come from, and the options that change the content."""
        options = {name: getattr(self, name) for name in ("expect", "members", "unpack", "strip")}
        # A dataset of the catalog is always copied.
        copy = self.copy and self.spec.scheme != "name"
        return place.request_key({**self._source(cwd), **options, "copy": copy})

    def _source(self, cwd: Path) -> dict[str, Any]:
        value = sources.key_of(self.spec, cwd)
        return {"scheme": self.spec.scheme, "value": value, "parts": self.spec.parts}
