"""What the users of this machine are called."""

import pwd


def user_name(user_id: int) -> str:
    """A user's name; the number where this machine knows none, as in a container."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
