"""The one kind of error that a person is meant to read, and names as a terminal may show them."""


class UserError(Exception):
    """A mistake or mishap that the user can mend.

    Its message is one line that names the parameter or file, the value found, and what would be
    right; stages print it without a traceback.
    """


def printable(text: object) -> str:
    """`text` on one line: what a terminal would obey or cannot show is escaped, as in Python's strings."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
