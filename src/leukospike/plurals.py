"""Numbers with what they count, for people to read."""


def number_of(n: int, one: str, many: str | None = None) -> str:
    """Write a number and what it counts, in the singular for one.

    Parameters
    ----------
    n : int
    one : str
        What is counted, in the singular; a verb may follow.
    many : str, optional
        The same in the plural; `one` and an s unless given.

    Returns
    -------
    str

    Examples
    --------
    >>> number_of(1, "cell"), number_of(1200, "cell")
    ('1 cell', '1200 cells')
    >>> number_of(2, "image is", "images are")
    '2 images are'
    """
    return f"{n} {one if n == 1 else many or one + 's'}"
