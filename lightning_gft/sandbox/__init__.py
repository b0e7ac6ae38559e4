"""Runs a program that a model has written, in a process with almost no access to the machine.

``process`` starts the program and watches it from outside. ``inside``, ``walls``, ``seccomp`` and ``values`` run in the
program's process before it starts, and import only the standard library.
"""
