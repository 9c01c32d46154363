"""Run a notebook from top to bottom, as a person would; print what it printed, as JSON.

Run as a script it works inside a namespace without any network, loopback included: the kernel is talked to over files.
"""

import json
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from jupyter_client.manager import AsyncKernelManager


def run(path: Path) -> dict[str, list[str]]:
    """Run the notebook at `path` in its own folder.

    Returns
    -------
    dict
        ``printed``: every line on standard output; ``complained``: on standard error; ``shown``: the HTML that is left
        of what was displayed; ``failed``: the lines of the error that ended it, if one did.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        client = nbclient.NotebookClient(
            notebook, km=manager, timeout=120, allow_errors=True, resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute()
    said: dict[str, list[str]] = {"printed": [], "complained": [], "shown": [], "failed": []}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                said["printed" if output.name == "stdout" else "complained"] += output.text.splitlines()
            elif output.output_type == "error":
                said["failed"] += output.traceback
            elif output.get("data", {}).get("text/html"):
                said["shown"].append(output.data["text/html"])
        if said["failed"]:
            break
    return said


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
