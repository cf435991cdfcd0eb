"""Words for a person that depend on a number."""


def counted(number: int, thing: str, things: str = "") -> str:
    """So many of a thing: "1 file", "3 files", "2 studies".

    Args:
        number: how many.
        thing: what one of them is called.
        things: what several are called, where that is not the same with an s.
    """
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"
