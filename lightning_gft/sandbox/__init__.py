"""Running a program that a model has written, in a process that can reach next to nothing.

``process`` starts and watches it from outside. ``inside``, ``walls``, ``seccomp`` and ``values`` run within the process
before the program does, and import the standard library alone.
"""
