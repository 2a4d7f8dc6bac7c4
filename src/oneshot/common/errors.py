"""The one kind of error that a person is meant to read, and names as a terminal may show them."""


class UserError(Exception):
    """A mistake or mishap that the user can mend: one line on the parameter or file, what was found, what is right."""


def printable(text: object) -> str:
    """`text` on one line: what a terminal would obey or cannot show is escaped, as in Python's strings."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
