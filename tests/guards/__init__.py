"""Every guard of the copy decision is taken out, and its bound moved by one micro, one at a time: a test must notice.

`make guards` does it for each comparison, condition, cap and rounding of the pure core and for each default of the
configuration, in a process of its own per mutant, against the worked examples of `tests/core`.
"""
