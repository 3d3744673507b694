"""Numbers of things in words."""


def counted(n: int, thing: str) -> str:
    """Say how many things there are, in the singular where there is one.

    Parameters
    ----------
    n : int
    thing : str
        In the singular; its plural ends in "s".

    Examples
    --------
    >>> counted(0, "pair"), counted(1, "pair"), counted(2000, "pair")
    ('0 pairs', '1 pair', '2000 pairs')
    """
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"
