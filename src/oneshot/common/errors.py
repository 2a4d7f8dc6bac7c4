"""The one kind of error that a person is meant to read."""


class UserError(Exception):
    """A mistake or mishap that the user can mend.

    Its message is one line that names the parameter or file, the value found, and what would be
    right; stages print it without a traceback.
    """
