"""Judge one archive of the corpus: unpack it, and say what is wrong with what came of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from datastage.archives import unpack
from datastage.errors import DatastageError
from datastage.reader import FileReader

CANARY = Path("/tmp/datastage-canary")


def tree_of(root: Path) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """Return what lies in a folder as the corpus spells it, the modes, and what is neither file, folder nor link."""
    tree: dict[str, str] = {}
    modes: dict[str, int] = {}
    odd: list[str] = []
    for base, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(base, name)
            short = os.path.relpath(path, root)
            status = os.lstat(path)
            modes[short] = status.st_mode
            if stat.S_ISLNK(status.st_mode):
                tree[short] = "-> " + os.readlink(path)
                real = os.path.realpath(path)
                if real != str(root) and not real.startswith(str(root) + os.sep):
                    odd.append(f"{short} leads to {real}")
            elif stat.S_ISDIR(status.st_mode):
                tree[short] = "dir"
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    tree[short] = hashlib.sha256(file.read()).hexdigest()
            else:
                odd.append(f"{short} is special")
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
                odd.append(f"{short} is setuid or setgid")
    return tree, modes, odd


def _digest(tree: dict[str, str]) -> dict[str, object]:
    lines = "".join(f"{path}\0{value}\n" for path, value in sorted(tree.items()))
    return {"count": len(tree), "sha256": hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()}


def _same(tree: dict[str, str], wanted: dict[str, str], entry: dict) -> bool:
    optional = set(entry.get("optional", ()))
    ours = (".datastage.json", ".datastage-files")
    if entry.get("names") == "any":
        return sorted(v for v in tree.values() if v != "dir") == sorted(v for v in wanted.values() if v != "dir")
    implied = {p.rpartition("/")[0] for p in wanted}
    for path in list(implied):
        while path:
            implied.add(path)
            path = path.rpartition("/")[0]
    for path, value in wanted.items():
        if tree.get(path) != value and path not in optional:
            return False
    return not (set(tree) - set(wanted) - implied - optional - set(ours))


def verdict(archive: Path, entry: dict, work: Path, **options) -> str | None:
    """Unpack `archive` below `work` (an empty folder); None if the outcome is a right one, else what is wrong."""
    dest = work / "dest"
    dest.mkdir()
    (work / "outside").mkdir()
    (work / "secret.txt").write_bytes(b"secret\n")
    canary = CANARY / archive.name.removesuffix("." + entry["format"])
    canary.mkdir(parents=True, exist_ok=True)
    (canary / "secret.txt").write_bytes(b"secret\n")
    before = tree_of(canary)[0]
    try:
        unpack(FileReader(archive), dest, password=entry.get("password"), **options)
        error = None
    except DatastageError as caught:
        error = caught
        str(caught)
    try:
        beside = sorted(os.listdir(work))
        if beside != ["dest", "outside", "secret.txt"] or os.listdir(work / "outside"):
            return f"something came into being beside the destination: {beside}"
        if (work / "secret.txt").read_bytes() != b"secret\n" or tree_of(canary)[0] != before:
            return "a file outside was changed"
        if error is not None:
            if os.listdir(dest):
                return f"leftovers after a refusal: {os.listdir(dest)[:3]} ({error})"
            if entry["expect"] == "accept" and not (entry.get("needs") and "nothing here can" in str(error)):
                return f"refused, and is good: {error}"
            return None
        if entry["expect"] == "refuse":
            return f"accepted, and breaks {entry.get('rule')}"
        tree, modes, odd = tree_of(dest)
        if odd:
            return "; ".join(odd)
        for path, wish in entry.get("modes", {}).items():
            if path in modes:
                has = {c for c, bit in (("r", 0o400), ("w", 0o200), ("x", 0o100)) if modes[path] & bit}
                wanted = set(wish[2:])
                if (wish[1] == "+" and not wanted <= has) or (wish[1] == "-" and wanted & has):
                    return f"mode of {path} is {oct(modes[path])}, not {wish}"
        if "tree_digest" in entry:
            plain = {p: v for p, v in tree.items() if v != "dir"}
            return None if entry["tree_digest"] in (_digest(tree), _digest(plain)) else "another tree"
        trees = [t for t in (entry.get("tree"), *entry.get("or_tree", ())) if t is not None]
        if trees and not any(_same(tree, wanted, entry) for wanted in trees):
            return f"another tree: {sorted(tree.items())[:4]}"
        return None
    finally:
        shutil.rmtree(canary, ignore_errors=True)
