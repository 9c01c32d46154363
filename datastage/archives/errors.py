"""What is wrong with an archive, as the engine says it; and the public error that it becomes.

A `Fault` costs nothing to import: helper processes raise it too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datastage.errors import DatastageError

_UNSAFE = ("N-", "L-", "S-SPECIAL", "D-", "M-MANY", "Z-OVERLAP", "Z-AMBIGUOUS", "Z-LOCAL", "Z-FOLDER")
LONE_PART = "is one part of several, and the others are not beside it"


class Fault(Exception):
    """An archive breaks `rule`; `text` ends a sentence that begins with the member `name`, or with the archive."""

    def __init__(self, rule: str, text: str, name: str = "") -> None:
        super().__init__(rule, text, name)
        self.rule = rule
        self.text = text
        self.name = name


def shown(name: str) -> str:
    """Return a name that a terminal can be shown: no control characters, no bytes that are no text, not endless."""
    if len(name) > 120:
        name = name[:80] + "..." + name[-30:]
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in name)


def error_of(fault: Fault, archive: str) -> DatastageError:
    """Make the public error of a fault found in `archive` (its printed name); it carries the rule as `rule`."""
    error = _error_of(fault, archive)
    error.rule = fault.rule  # type: ignore[attr-defined]
    return error


class faults_of:
    """A block whose faults become the public errors of `archive`, by its printed name."""

    def __init__(self, archive: str) -> None:
        self._archive = archive

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, fault: object, *trace: object) -> None:
        if isinstance(fault, Fault):
            raise error_of(fault, self._archive) from None


def _error_of(fault: Fault, archive: str) -> DatastageError:
    from datastage import errors

    what = f'"{shown(fault.name)}" ' if fault.name else "it "
    said = f"{what}{fault.text}"
    if fault.rule == "Z-LOCKED":
        if "needs a password" in fault.text or "without a password" in fault.text:
            return errors.PasswordError(
                f"{archive} is locked, and no password was given.",
                "Next: the same line with password=..., or --password-file FILE after the command.",
            )
        return errors.PasswordError(
            f"{archive} is locked, and does not open with this password: {said}.",
            "Ask for the right one, capitals and all; if it is right, the file was damaged on its way.",
            "Next: the same line with the right password.",
        )
    if fault.rule == "T-ROOM":
        return errors.NoSpaceError(f"{archive} will not fit: {said}.")
    if fault.rule.startswith("X-"):
        from datastage.archives.formats import remedy_of

        return errors.MissingDependencyError(f"{archive}: {said}.", remedy_of(fault.rule))
    if fault.rule.startswith(_UNSAFE):
        return errors.UnsafeArchiveError(
            f"{archive} was refused: {said} [{fault.rule}]. Nothing of it was kept.",
            "Next: ask where it came from, or have it packed again.",
            member=fault.name,
            rule=fault.rule,
        )
    if fault.rule in _NOT_DAMAGED:
        return errors.IntegrityError(f"{archive} cannot be unpacked: {said}.", *_NOT_DAMAGED[fault.rule])
    if fault.rule == "C-TRAIL":
        return errors.DamagedArchiveError(
            f"{archive} was refused: {said}, and they may be a part of it that is damaged. Nothing of it was kept.",
            "It is not cut short: something was written behind its end.",
            "Next: fetch it again. If the bytes are there again, unpack what stands before them:  gzip -dc, xz -dc",
        )
    is_cut = fault.rule.endswith(("-CUT", "-END", "-ORPHAN", "-EMPTY")) or "cut short" in fault.text
    from datastage.archives.names import is_part

    if is_cut and is_part(archive):
        return _error_of(Fault("P-PART", LONE_PART), archive)
    return errors.DamagedArchiveError(
        f"{archive} is damaged or incomplete: {said}. Nothing of it was kept.",
        "It was probably cut short on its way." if is_cut else "Some of its bytes are not what was packed.",
        "Next: fetch or upload it again, and compare its size with the original's.",
    )


# What is no damage and nobody's attack, and what helps.
_NOT_DAMAGED = {
    "P-PART": (
        "Put all parts into one folder, under the names that they came with, and name any of them; or join them first:",
        "    zip -s 0 NAME.zip --out whole.zip        for NAME.z01, NAME.z02, ..., NAME.zip",
        "    cat NAME.zip.0* > NAME.zip               for NAME.zip.001, NAME.zip.002, ..., and what split made",
        "Next: run the same line again.",
    ),
    "Z-METHOD": (
        "It is whole as far as can be seen; only its packing is unusual.",
        "Next: unpack it with the program that made it, or have it packed again as a plain zip.",
    ),
    "C-MEMORY": ("Next: unpack it with the program that made it, or have it packed again with less memory.",),
}
