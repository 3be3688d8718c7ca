"""Errors of the command line: one sentence for a person and the exit code that goes with it.

CommandError            exit 2: the request is wrong; nothing was changed
`- StackError           exit 1: the request was right, but something did not start, answer or stop
"""


class CommandError(Exception):
    """A request that cannot be carried out; says what was expected, what came and what to do."""

    exit_code = 2


class StackError(CommandError):
    """A part of the stack failed; says which and where its log is."""

    exit_code = 1
