"""A stand-in for Colab's own package: the same modules, signatures, checks, messages and order of them.

After googlecolab/colabtools at its state of 2026-04. ``google`` stays a namespace package. What the browser and the
person in front of it do is told by environment variables, so that a subprocess sees the same:

``STAND_IN_ROOT``     the folder that stands for ``/`` (``/var/colab/hostname``, the table of mounts, Drive's log)
``STAND_IN_CLOUD``    the folder that holds what is in the person's Drive
``STAND_IN_ANSWERS``  what happens at each mount in turn, separated by commas; the last one stays: ``ok``, ``slow``,
                      ``refused``, ``silence``, ``crowded``, ``hangs``, ``policy``, ``stops``, ``interrupt``
``STAND_IN_LOG``      a file that gets a line for every question that reaches the browser
``STAND_IN_UPLOAD``   files that the person chooses in the upload widget, separated by ``os.pathsep``; none: cancelled
``STAND_IN_SECRETS``  JSON: name to value, null if the notebook may not see it
"""

from google.colab import auth, drive, errors, files, output, userdata

__all__ = ["auth", "drive", "errors", "files", "output", "userdata"]
__version__ = "0.0.1a2"
