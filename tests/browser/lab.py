"""A real JupyterLab in a headless Chromium on loopback: cells are run, stopped and reloaded as a person does it.

Nothing here knows datastage. Needs jupyterlab and selenium (PyPI), chromium and chromium-driver (Debian).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

WAIT_S = 400
SERVER = (
    "--no-browser", "--allow-root", "--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password=",
    "--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)  # fmt: skip
CHROMIUM = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars")
IS_OPEN = "return !!window.jupyterapp && !!document.querySelector('.jp-Notebook .jp-Cell')"
# JupyterLab 3 gives an iterator of its own kind.
PANEL = (
    "const all = jupyterapp.shell.widgets('main'), open = []; if (all[Symbol.iterator]) open.push(...all); "
    "else for (let one; (one = all.next()) !== undefined;) open.push(one); "
    "const panel = open.find(one => one.sessionContext); "
)
SESSION = PANEL + "const session = panel?.sessionContext?.session; "
IS_CONNECTED = SESSION + "return session?.kernel?.connectionStatus == 'connected'"
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.textContent)"
IS_BUSY = f"{SESSION} return session.kernel.status != 'idle' || {PROMPTS}.some(text => text.includes('*'))"
SHOWN = "document.querySelectorAll('.jp-CodeCell')[arguments[0]]?.querySelector('.jp-Cell-outputArea')"
COMMAND = "jupyterapp.commands.execute(arguments[0], arguments[1]).then(() => arguments[2](), arguments[2])"


class Lab:
    """JupyterLab in `folder`, and a browser; pictures go to the folder `pictures`."""

    def __init__(self, folder: Path, pictures: Path, *, width: int = 1100, height: int = 1000) -> None:
        self.folder, self.pictures, self.name, self._cell = folder, pictures, "", 0
        pictures.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._stack = contextlib.ExitStack()
        log = self._stack.enter_context(open(folder / "lab.log", "w"))
        quiet = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True)
        quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        command = [sys.executable, "-m", "jupyter", "lab", f"--port={self.port}", *SERVER]
        environment = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
        self.server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
        self._stack.callback(self._stop_server)
        try:
            self.until(self._answers, "JupyterLab")
            chrome = Options()
            chrome.binary_location = shutil.which("chromium") or ""
            for flag in (*CHROMIUM, f"window-size={width},{height}", f"user-data-dir={folder / 'chrome'}"):
                chrome.add_argument(f"--{flag}")
            self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=chrome)
            self._stack.callback(self.driver.quit)
            self.driver.set_script_timeout(WAIT_S)
        except BaseException:
            self.close()
            raise

    def _stop_server(self) -> None:
        self.server.terminate()
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:  # JupyterLab 3 asks whether it may
            self.server.kill()
            self.server.wait(20)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait until something holds; a picture is taken where it does not come."""
        deadline = time.monotonic() + WAIT_S
        while not holds():
            if time.monotonic() > deadline:
                self.driver.save_screenshot(str(self.pictures / "gave-up.png"))
                raise AssertionError(f"{what} did not come; see {self.folder / 'lab.log'}")
            time.sleep(0.2)

    def close(self) -> None:
        """End the browser and the server."""
        self._stack.close()

    def js(self, code: str, *values: object) -> Any:
        """Run JavaScript in the page."""
        return self.driver.execute_script(code, *values)

    def command(self, name: str, **options: object) -> None:
        """Run a command of JupyterLab's, and wait for it."""
        self.driver.execute_async_script(COMMAND, name, options)

    def make(self, name: str, *cells: str) -> None:
        """Open a new notebook of these cells."""
        made = [
            {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": text, "outputs": [], "execution_count": None}
            for n, text in enumerate(cells)
        ]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        whole = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (self.folder / f"{name}.ipynb").write_text(json.dumps(whole))
        self.name = name
        self.load()

    def load(self) -> None:
        """Load the page, as a person does who presses reload."""
        self.driver.get(f"http://127.0.0.1:{self.port}/lab/tree/{self.name}.ipynb?reset")
        self.until(lambda: self.js(IS_OPEN), "the notebook")
        self.until(lambda: self.js(IS_CONNECTED), "the kernel")
        self.js(PANEL + "jupyterapp.shell.activateById(panel.id); jupyterapp.shell.collapseLeft()")

    def begin(self, cell: int) -> None:
        """Press run on a cell."""
        self._cell = cell
        self.js(PANEL + "panel.content.activeCellIndex = arguments[0]", cell)
        self.js("jupyterapp.commands.execute('notebook:run-cell')")
        has_number = f"return /[0-9]/.test({PROMPTS}[arguments[0]])"
        self.until(lambda: self.js(IS_BUSY) or self.js(has_number, cell), "the beginning of the cell")

    def finish(self) -> None:
        """Wait until nothing runs."""
        self.until(lambda: not self.js(IS_BUSY), "the end of the cell")
        time.sleep(1.0)  # the last output may come after it

    def write(self, cell: int, text: str) -> None:
        """Write a cell anew."""
        self.js(PANEL + "panel.content.widgets[arguments[0]].model.sharedModel.setSource(arguments[1])", cell, text)

    def run(self, cell: int) -> str:
        """Run a cell to its end, and return what it shows."""
        self.begin(cell)
        self.finish()
        return self.shown(cell)

    def stop(self) -> None:
        """Press stop."""
        self.js(f"{SESSION} session.kernel.interrupt()")
        self.finish()

    def until_shown(self, cell: int, text: str) -> None:
        """Wait until a cell shows a text."""
        self.until(lambda: text in self.shown(cell), text)

    def shown(self, cell: int) -> str:
        """Return the text that a cell's outputs show now; tqdm writes spaces as wide as a digit."""
        return str(self.js(f"return {SHOWN}?.innerText", cell) or "").replace("\u2007", " ")

    def count(self, cell: int, selector: str) -> int:
        """Return how many elements in a cell's outputs fit a selector and can be seen."""
        code = f"return [...({SHOWN}?.querySelectorAll(arguments[1]) ?? [])].filter(e => e.offsetHeight).length"
        return int(self.js(code, cell, selector))

    def picture(self, name: str) -> None:
        """Take a picture in dark and in light."""
        for theme in ("Dark", "Light"):
            self.command("apputils:change-theme", theme=f"JupyterLab {theme}")
            time.sleep(1.0)
            self.snap(f"{name}-{theme.lower()}")

    def snap(self, name: str) -> None:
        """Take a picture at once, while something moves."""
        self.js("document.querySelectorAll('.jp-CodeCell')[arguments[0]].scrollIntoView()", self._cell)
        self.driver.save_screenshot(str(self.pictures / f"{name}.png"))
