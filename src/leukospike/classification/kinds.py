"""The kinds of cells that are told apart."""

from enum import StrEnum


class CellKind(StrEnum):
    """What a cell is; in the order of the network's outputs."""

    LYMPHOBLAST = "lymphoblast"
    PRECURSOR = "normal lymphoid precursor"
    """As of a healthy marrow, also called a hematogone."""
    LYMPHOCYTE = "lymphocyte"
    MONOCYTE = "monocyte"
    NEUTROPHIL = "neutrophil"
    EOSINOPHIL = "eosinophil"
    BASOPHIL = "basophil"
    IMMATURE_GRANULOCYTE = "immature granulocyte"
    """Promyelocyte, myelocyte or metamyelocyte."""
    ERYTHROBLAST = "erythroblast"
    PLATELET = "platelet"
    NONE_OF_THESE = "not one of these"
    """A smudge, an artefact, or something unknown."""

    @property
    def column(self) -> str:
        """Name of the kind's column of probabilities."""
        return "p_" + self.value.replace(" ", "_")

    @property
    def place(self) -> int:
        """Place of the kind among the outputs."""
        return KINDS.index(self)


KINDS = tuple(CellKind)

NOT_WHITE = (CellKind.ERYTHROBLAST, CellKind.PLATELET, CellKind.NONE_OF_THESE)
"""Kinds that a differential of white cells does not count."""

MATURE = (
    CellKind.LYMPHOCYTE,
    CellKind.MONOCYTE,
    CellKind.NEUTROPHIL,
    CellKind.EOSINOPHIL,
    CellKind.BASOPHIL,
    CellKind.IMMATURE_GRANULOCYTE,
)
"""White cells that no leukemic lymphoblast is mistaken for as its normal precursor is: lymphocytes, monocytes and
granulocytes, the immature among them."""
