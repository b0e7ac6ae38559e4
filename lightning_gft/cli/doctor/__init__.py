"""``lightning-gft doctor``: tests libraries, devices and folders of a machine, and prints remedies for failures.

Sections that load compiled code run in subprocesses (``sections``), so a crash or a hang becomes a finding.
"""
