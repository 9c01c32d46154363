"""The upload widget."""

import os

from google.colab import _message


def upload(target_dir=""):
    """Render a widget to upload local (to the browser) files to the kernel."""
    uploaded = _upload_files(multiple=True, target_dir=target_dir)
    return uploaded


def upload_file(filename):
    """Upload one file under the given name."""
    uploaded = _upload_files(multiple=False)
    if not uploaded:
        raise ValueError("File has not been uploaded")
    if len(uploaded) > 1:
        raise ValueError("Multiple files received, please upload a single file")
    (saved,) = uploaded
    os.rename(saved, filename)


def _upload_files(multiple, target_dir=""):
    _message.blocking_request("upload", timeout_sec=None)
    chosen = [path for path in os.environ.get("STAND_IN_UPLOAD", "").split(os.pathsep) if path]
    saved = {}
    for path in chosen if multiple else chosen[:1]:
        with open(path, "rb") as file:
            data = file.read()
        name = _free(os.path.join(target_dir, os.path.basename(path)))
        with open(name, "wb") as file:
            file.write(data)
        print(f"Saving {os.path.basename(path)} to {name}")
        saved[name] = data
    return saved


def _free(name):
    stem, ending = os.path.splitext(name)
    number = 0
    while os.path.exists(name):
        number += 1
        name = f"{stem} ({number}){ending}"
    return name


def download(filename):
    """Download the file to the user's local disk via a browser."""
    if not os.path.exists(filename):
        raise FileNotFoundError(f"Cannot find file: {filename}")
    _message.blocking_request("download", filename)


def view(filepath):
    """View a notebook or file in Colab."""
    if not os.path.exists(filepath):
        raise FileNotFoundError(f"Cannot find file: {filepath}")
