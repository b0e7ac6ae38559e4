"""Processes that end, together with their descendants, when the run ends or releases them.

The kernel closes a run's sockets however the run ends, by SIGKILL too. A *guard* (``guard.py``) holds the other end of
one such socket, its *line*, and is the parent of the process that it watches. ``program.py`` is the run's side.
"""
