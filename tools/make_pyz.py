"""Make datastage.pyz: the whole tool in one file, which runs with any Python 3.11 or later and nothing else.

    python tools/make_pyz.py [datastage.pyz]

The same sources give the same bytes. Put the file into a course repository: ``python datastage.pyz stage cifar10``.
"""

import os
import shutil
import sys
import tempfile
import zipapp
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "datastage"
# zipapp's own __main__ would lose the exit code. An old Python reads this too, and must get words and no traceback.
MAIN = """\
import sys
if sys.version_info < (3, 11):
    sys.exit("datastage needs Python 3.11 or later; this is %d.%d." % sys.version_info[:2])
from datastage.cli import main
sys.exit(main())
"""


def make(target):
    """Write the archive to `target`."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shutil.copytree(PACKAGE, root / "datastage", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "__main__.py").write_text(MAIN)
        for path in root.rglob("*"):
            os.chmod(path, 0o755 if path.is_dir() else 0o644)
            os.utime(path, (315_619_200, 315_619_200))  # 1980, where zip begins: the time of making changes nothing
        zipapp.create_archive(root, target, interpreter="/usr/bin/env python3", compressed=True)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "datastage.pyz")
    make(target)
    print(f"{target}: {target.stat().st_size:,} bytes")
