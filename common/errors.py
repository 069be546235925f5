"""The one exception for everything a user can cause.

Its message names the field, the value and what is possible, in one line. The command lines
(`common.terminal.command_line`) print that line and exit with status 2; the HTTP servers turn it into a 4xx answer.
Errors in the program itself stay ordinary exceptions with their traceback.
"""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(ValueError):
    """Bad input. `str(error)` is the one line the user sees."""
