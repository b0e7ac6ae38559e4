"""Processes for code that may hang, crash or take all memory; they end with the run, however it ends.

Three kinds of process serve a run. The *fork server* (``server.py``), a fresh interpreter, imports a task once and
forks the others. A *worker* (``worker.py``) runs the task, and anything may happen to it. Its parent is a *guard*
(``guarded/guard.py``), which only watches: when the worker ends, or the run ends or lets go of it, the guard ends all
that the worker has started. ``process.py`` and ``round.py`` are the run's side. The others import little more than what
the task needs.
"""
