"""The command line: what an operator types.

In: arguments, the data directory. Decides: which processes run and in what order they start. Out: processes, lines on
the terminal, exit codes. Owns: the data directory's layout, the embedded databases, the supervisor.
Never: business rules; those are asked of the service that owns them, through its `commands` module.
"""
