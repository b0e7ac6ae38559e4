"""Processes for code that may hang, crash or use up all memory; they end with the run, however it ends.

Three kinds of process serve a run. The *fork server* (``server.py``), a fresh interpreter, imports a task once and
forks the others. A *worker* (``worker.py``) runs the task, and may fail in any way. Its parent is a *guard*
(``guarded/guard.py``), which only watches: when the worker ends, or the run ends or releases it, the guard kills all
descendants of the worker. ``process.py`` and ``round.py`` are the run's side. The other modules import little more than
the task needs.
"""
