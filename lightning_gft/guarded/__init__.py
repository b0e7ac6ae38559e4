"""Processes that end, with all that they have started, when the run ends or lets go of them.

The kernel closes a run's sockets however it ends, by SIGKILL too. A *guard* (``guard.py``) has the other end of one,
its *line*, and is the parent of a process that it watches. ``program.py`` is the run's side.
"""
