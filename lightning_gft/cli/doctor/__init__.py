"""``lightning-gft doctor``: tries on this machine what runs need, and says how to mend what does not work.

What loads compiled code runs in processes of its own (``sections``), so that one that crashes or hangs is a finding.
"""
