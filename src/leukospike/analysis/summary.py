"""Overall figures of an analysis, as in `summary.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from leukospike.analysis.judges import JudgeFacts
from leukospike.notices import Notice
from leukospike.plurals import number_of


@dataclass(frozen=True)
class KindCounts:
    """How images were classified."""

    asked: str
    """"auto", "cell" or "field"."""
    cell: int
    field: int


@dataclass(frozen=True)
class ScaleFacts:
    """Scale at which the cells of fields were shown to the model."""

    model_picture_px: int
    model_um_per_px: float | None
    model_cell_share: float
    model_cells_on_black: bool
    known_from: str
    fields_by_pixel_size: int
    fields_by_proportion: int
    fields_by_source: int = 0


@dataclass(frozen=True)
class Detection:
    """Found cells compared with listed ones, over the fields with a list."""

    fields: int
    listed: int
    found: int
    matched: int
    recall: float | None
    precision: float | None
    fields_with_empty_list: int
    found_in_those: int


@dataclass(frozen=True)
class Summary:
    """Overall figures of an analysis; all follow from its tables, except how it was made."""

    images: int
    """Images in the input."""
    failed: int
    cells: int
    scored: int
    """Cells that have a probability."""
    counted: int
    """Cells that count towards subjects and images."""
    leukemic: int
    """Counted cells that are called leukemic."""
    generated: bool
    """Whether any image was drawn by `leukospike smears`."""
    decision_threshold: float
    prevalence: float | None
    """None if the judge computes no posterior."""
    model: JudgeFacts
    kinds: KindCounts | None
    """None in folders of version 0.1.0, as the next two may be."""
    scale: ScaleFacts | None
    """None without fields."""
    detection: Detection | None
    """None if the data list no cells."""
    environment: Mapping[str, str | int | None]
    notices: tuple[Notice, ...]

    def to_json(self) -> dict[str, object]:
        """Return the summary as JSON data."""
        return {
            "images": self.images,
            "failed": self.failed,
            "cells": self.cells,
            "scored": self.scored,
            "counted": self.counted,
            "leukemic": self.leukemic,
            "generated": self.generated,
            "decision_threshold": self.decision_threshold,
            "prevalence": self.prevalence,
            "model": self.model.to_json(),
            "kinds": None if self.kinds is None else asdict(self.kinds),
            "scale": None if self.scale is None else asdict(self.scale),
            "detection": None if self.detection is None else asdict(self.detection),
            "environment": dict(self.environment),
            "notices": [notice.to_json() for notice in self.notices],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Summary":
        """Read the output of `to_json`, also of version 0.1.0.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or of a wrong type.
        """
        model: dict[str, Any] = dict(content["model"])
        kinds, scale, detection = (content.get(name) for name in ("kinds", "scale", "detection"))
        return cls(
            images=int(content["images"]),
            failed=int(content["failed"]),
            cells=int(content.get("cells", 0)),
            scored=int(content.get("scored", 0)),
            counted=int(content.get("counted", 0)),
            leukemic=int(content.get("leukemic", 0)),
            generated=bool(content["generated"]),
            decision_threshold=float(content["decision_threshold"]),
            prevalence=content.get("prevalence"),
            model=JudgeFacts.from_json(model),
            kinds=None if kinds is None else KindCounts(**kinds),
            scale=None if scale is None else ScaleFacts(**scale),
            detection=None if detection is None else Detection(**detection),
            environment=dict(content.get("environment", {})),
            notices=tuple(Notice.from_json(notice) for notice in content["notices"]),
        )

    def __str__(self) -> str:
        """Return the figures in a line."""
        return (
            f"{number_of(self.counted, 'counted cell')} of {self.cells} in {number_of(self.images, 'image')},"
            f" {self.leukemic} called leukemic"
        )
