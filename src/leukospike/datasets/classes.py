"""Accepted names of the two classes in folders and tables, and those added by the user."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from leukospike.errors import DataError

NORMAL_NAMES = frozenset(
    {"0", "negative", "normal", "healthy", "benign", "hem", "control", "controls", "hematogone", "hematogones"}
    | {"haematogone", "haematogones", "lymphocyte", "lymphocytes", "non-leukemic", "non-leukaemic"}
)
"""Accepted words for the normal class."""

LEUKEMIC_NAMES = frozenset(
    {"1", "positive", "all", "blast", "blasts", "lymphoblast", "lymphoblasts", "leukemic", "leukemia", "leukaemic"}
    | {"leukaemia"}
)
"""Accepted words for the leukemic class. "Malignant" is not one of them: it may also mean a lymphoma."""

Names: TypeAlias = str | Sequence[str] | None
"""One or more of the user's words for a class."""


def comparable(name: str) -> str:
    """Normalise a word for comparison: case, Unicode form and outer spaces are ignored.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Examples
    --------
    >>> comparable("LEUKA\u0308MISCH ") == comparable("leuk\u00e4misch")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())


@dataclass(frozen=True)
class ClassNames:
    """The words for the two classes: the accepted ones, and the user's, which take precedence.

    Examples
    --------
    >>> words = ClassNames.of(positive="Early", negative=None)
    >>> words.label("early"), words.label("Benign"), words.label("Pro")
    (1, 0, None)
    """

    positive: frozenset[str] = frozenset()
    """The user's words for the leukemic class, comparable."""
    negative: frozenset[str] = frozenset()
    """The user's words for the normal class, comparable."""

    @classmethod
    def of(cls, positive: Names, negative: Names) -> "ClassNames":
        """Build class names from the user's words.

        Parameters
        ----------
        positive, negative : str, sequence of str or None
            Further words for the leukemic and for the normal class.

        Returns
        -------
        ClassNames

        Raises
        ------
        DataError
            If a word is empty, or given for both classes.
        """
        leukemic, normal = (
            frozenset(comparable(name) for name in ([names] if isinstance(names, str) else names or ()))
            for names in (positive, negative)
        )
        if "" in leukemic | normal:
            raise DataError(
                "`positive` and `negative` must name a class",
                where="class names",
                got="an empty name",
                advice="Pass the name of its folder, or its label in the manifest.",
            )
        if both := leukemic & normal:
            raise DataError(
                "`positive` and `negative` must differ",
                where="class names",
                got=f"'{min(both)}' for both",
                advice="Use a different name for each class.",
            )
        return cls(leukemic, normal)

    def label(self, name: str) -> int | None:
        """Return the label of a word: 1, 0, or None if the word is unknown; labels are never guessed."""
        word = comparable(name)
        if word in self.positive or word in self.negative:
            return int(word in self.positive)
        return 1 if word in LEUKEMIC_NAMES else 0 if word in NORMAL_NAMES else None

    def labels(self, names: Iterable[str]) -> dict[str, int | None]:
        """Return the label of each of several sibling folders, None if unknown.

        A number counts as a class only if all folder names are numbers, since patients may be numbered too.
        """
        labels = {name: self.label(name) for name in names}
        if None in labels.values():
            labels = {
                name: None if name.isdigit() and not self.is_given(name) else label for name, label in labels.items()
            }
        return labels

    def is_given(self, name: str) -> bool:
        """Tell whether a word is one of the user's."""
        return comparable(name) in self.positive | self.negative

    def require_used(self, words: Iterable[str]) -> None:
        """Refuse a word of the user's that does not occur in the data: it is probably misspelled.

        Parameters
        ----------
        words : iterable of str
            Names of folders, or labels.

        Raises
        ------
        DataError
        """
        found = {comparable(word): word for word in words}
        for option, given in (("positive", self.positive), ("negative", self.negative)):
            if missing := given - set(found):
                raise DataError(
                    f"`{option}` must be the folder name or label of a class in the data",
                    where="class names",
                    got=f"'{min(missing)}', but the data have {', '.join(sorted(found.values())[:8]) or 'none'}",
                    advice="Check the spelling.",
                )


def accepted_words() -> str:
    """Return the accepted words as a sentence, for a message.

    Returns
    -------
    str
    """
    normal, leukemic = (
        ", ".join(sorted(word for word in names if not word.isdigit())) for names in (NORMAL_NAMES, LEUKEMIC_NAMES)
    )
    return (
        f"Accepted names of class folders are {normal} (normal) and {leukemic} (leukemic); `positive` and `negative`"
        " map others."
    )
