"""Export of the classifier as one ONNX file, from pixels to kinds, for programs without PyTorch."""

import importlib
import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from leukospike.classification.appearance import appearance_of
from leukospike.classification.classifier import Classifier, Judgement, see_cells
from leukospike.classification.kind_input import CELL_PX, CELL_REDUCTION
from leukospike.classification.kind_network import AXES
from leukospike.classification.kinds import KINDS, CellKind
from leukospike.classification.lite_network import folded
from leukospike.classification.network_input import REDUCTION
from leukospike.errors import ExportError
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.images.framing import C_NMC_FRAMING
from leukospike.storage.files import written_whole

if TYPE_CHECKING:
    import onnxruntime

INPUTS = ("pixels", "diameter_um")
"""Names of the graph's inputs."""

OUTPUTS = ("probability", "kinds", "set", "distance", "outlier")
"""Names of the graph's outputs."""

_OPSET = 18
_BATCH = 64
_BLAST = CellKind.LYMPHOBLAST.place

_Judged = tuple[
    Float[Tensor, " batch"],
    Float[Tensor, "batch kinds"],
    Bool[Tensor, "batch kinds"],
    Float[Tensor, " batch"],
    Bool[Tensor, " batch"],
]


class _CellsToJudgement(nn.Module):
    """`Classifier.judge` as one graph."""

    centres: Tensor
    whitening: Tensor
    least: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._network = folded(classifier.network).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self._measures = nn.ModuleList(classifier.measures)
        self._confidence = classifier.confidence
        whitening = torch.from_numpy(classifier.distance.whitening)
        self.register_buffer("whitening", whitening)
        self.register_buffer("centres", torch.from_numpy(classifier.distance.means) @ whitening)
        self.register_buffer("least", torch.tensor(classifier.confidence.sets.least))

    def forward(
        self,
        pixels: UInt8[Tensor, "batch 192 192 3"],
        given: Bool[Tensor, " batch"],
        diameter_um: Float[Tensor, " batch"],
    ) -> tuple[Tensor, ...]:
        """Judge cells; the axes come last."""
        judged, axes = self.judged(pixels, given, diameter_um)
        return (*judged, axes)

    def judged(
        self,
        pixels: UInt8[Tensor, "batch 192 192 3"],
        given: Bool[Tensor, " batch"],
        diameter_um: Float[Tensor, " batch"],
    ) -> tuple[_Judged, Float[Tensor, "batch axes"]]:
        """Judge cells as `cell_pixels` makes them."""
        axes, logits, at_home = see_cells(self._network, pixels, given, diameter_um)
        kinds = logits.log_softmax(dim=1)
        others = torch.cat([kinds[:, :_BLAST], kinds[:, _BLAST + 1 :]], dim=1)
        odds = kinds[:, _BLAST] - others.logsumexp(dim=1)
        (weight,), offset = self._confidence.elsewhere.weights, self._confidence.elsewhere.offset
        elsewhere = odds * weight + offset
        (first, second), offset = self._confidence.at_home.weights, self._confidence.at_home.offset
        home = odds * first + self._second_opinion(pixels) * second + offset
        probability = torch.where(at_home, home, elsewhere).sigmoid()
        share = others.softmax(dim=1) * (1 - probability[:, None])
        shares = torch.cat([share[:, :_BLAST], probability[:, None], share[:, _BLAST:]], dim=1)
        # The likeliest kind stays, and what the cell is called: see `classifier.called_kinds`.
        is_blast = torch.arange(len(KINDS)) == _BLAST
        of_others = shares.masked_fill(is_blast, -1.0).argmax(dim=1)
        called = torch.where(probability >= THRESHOLD, torch.full_like(of_others, _BLAST), of_others)
        kept = (torch.arange(len(KINDS)) == shares.argmax(dim=1)[:, None]) | (
            torch.arange(len(KINDS)) == called[:, None]
        )
        apart = (axes @ self.whitening)[:, None] - self.centres[None]
        distance = (apart * apart).sum(dim=2).sqrt().amin(dim=1)
        outlier = distance > self._confidence.outlier_distance
        return (probability, shares, (shares >= self.least) | kept, distance, outlier), axes

    def _second_opinion(self, pixels: UInt8[Tensor, "batch 192 192 3"]) -> Float[Tensor, " batch"]:
        """Return the log odds by the measures, as `classifier.ensemble` does, of each cell's `coarse_crop`."""
        crops = _reduced(pixels.permute(0, 3, 1, 2).float(), REDUCTION // CELL_REDUCTION)
        # Of a cell of an even colour, onnxruntime says 0 / 0 where torch says 0 / 1e-12.
        measures = torch.nan_to_num(appearance_of(crops / 255), nan=0.0)
        networks: Any = self._measures
        embedding = networks[0].standardised(measures)
        logits = torch.stack([network.decide(embedding) for network in networks]).mean(dim=0)
        return logits[:, 1] - logits[:, 0]


class _PicturesToJudgement(_CellsToJudgement):
    """The same from pictures as C-NMC has them, preceded by `kind_input.cell_pixels`."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - one input less
        self, pixels: UInt8[Tensor, "batch 450 450 3"], diameter_um: Float[Tensor, " batch"]
    ) -> _Judged:
        """Judge pictures framed as `C_NMC_FRAMING` says."""
        first = (C_NMC_FRAMING.side_px - CELL_PX * CELL_REDUCTION) // 2
        last = C_NMC_FRAMING.side_px - first
        middle = pixels[:, first:last, first:last].permute(0, 3, 1, 2).float()
        cells = _reduced(middle, CELL_REDUCTION).permute(0, 2, 3, 1)
        given = torch.ones_like(diameter_um, dtype=torch.bool)
        (probability, kinds, sets, distance, outlier), _ = self.judged(cells.to(torch.uint8), given, diameter_um)
        # As in `analyze`: a blank picture gets no probability.
        blank = (cells.amax(dim=(1, 2)) == cells.amin(dim=(1, 2))).all(dim=1)
        probability = torch.where(blank, torch.full_like(probability, torch.nan), probability)
        kinds = torch.where(blank[:, None], torch.full_like(kinds, torch.nan), kinds)
        return probability, kinds, sets | blank[:, None], distance, outlier | blank


def _reduced(values: Float[Tensor, "batch 3 rows columns"], times: int) -> Float[Tensor, "batch 3 r c"]:
    """Return the means of squares of pixels of 0 to 255, rounded half up as Pillow does."""
    return (functional.avg_pool2d(values, times) + 0.5).floor()


def export_onnx(classifier: Classifier, path: Path, *, from_cells: bool = False) -> None:
    """Write a classifier as an ONNX graph, whole or not at all.

    Inputs: `pixels`, uint8 of shape (batch, 450, 450, 3), RGB, each a cell cut out on black as C-NMC shows its cells;
    `diameter_um`, float32 of shape (batch,), of the disc as large as the cell, NaN where it is not known. A picture
    with the look of C-NMC's stain normalisation is taken to be on C-NMC's scale, whatever its diameter is said to be.
    Outputs: `probability` (float32), of a leukemic lymphoblast; `kinds` (float32, of each of `kinds.KINDS`), `set`
    (bool, whether each kind remains possible), `distance` (float32) and `outlier` (bool). A picture of one colour shows
    no cell: its probabilities are NaN, all kinds remain possible, and it is an outlier. The batch may have any size.
    The metadata hold the model card and the names of the kinds, as JSON.

    Parameters
    ----------
    classifier : Classifier
    path : Path
    from_cells : bool
        True: `pixels` is of shape (batch, 192, 192, 3), as `kind_input.cell_pixels` makes it, an input `given` (bool)
        comes before the diameter, as of `Classifier.judge`, and the output `axes` last.

    Raises
    ------
    ExportError
        If the extra `onnx` is not installed.
    """
    onnx = _imported("onnx", "export_onnx")
    _imported("onnxscript", "export_onnx")
    graph = (_CellsToJudgement if from_cells else _PicturesToJudgement)(classifier).eval()
    side = CELL_PX if from_cells else C_NMC_FRAMING.side_px
    inputs = {"pixels": torch.full((2, side, side, 3), 127, dtype=torch.uint8)}
    inputs |= {"given": torch.tensor([True, False])} if from_cells else {}
    inputs["diameter_um"] = torch.tensor([12.0, torch.nan])
    with written_whole(path) as part:  # first, so that a folder that cannot be written to costs no minute
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")  # users can do nothing about the exporter's internal warnings
            log = logging.getLogger("torch.onnx")
            level = log.level
            log.setLevel(logging.ERROR)
            batch = torch.export.Dim("batch", min=1)
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=[*OUTPUTS, *(["axes"] if from_cells else [])],
                dynamic_shapes={name: {0: batch} for name in inputs},
                opset_version=_OPSET,
                verbose=False,
            )
            log.setLevel(level)
            graph_file = Path(folder) / "graph.onnx"
            if program is None:
                raise TypeError(program)
            program.save(str(graph_file), external_data=False)
            model = onnx.load(str(graph_file))
        told = {
            "leukospike": json.dumps(dict(classifier.card)),
            "kinds": json.dumps([kind.value for kind in KINDS]),
            "digest": classifier.digest(),
        }
        for name, value in told.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = name, value
        part.write_bytes(model.SerializeToString())


class OnnxJudge:
    """A classifier that judges by its exported graph."""

    def __init__(self, classifier: Classifier) -> None:
        runtime = _imported("onnxruntime", "OnnxJudge")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "classifier.onnx"
            export_onnx(classifier, path, from_cells=True)
            self._session: onnxruntime.InferenceSession = runtime.InferenceSession(
                path.read_bytes(), providers=["CPUExecutionProvider"]
            )

    def judge(
        self,
        cells: UInt8[np.ndarray, "n rows columns 3"],
        *,
        given: Bool[np.ndarray, " n"],
        diameter_um: Float[np.ndarray, " n"],
    ) -> Judgement:
        """Judge cells as `Classifier.judge` does, within 1e-3 of its probabilities."""
        if not len(cells):
            none = np.zeros(0)
            kinds = np.zeros((0, len(KINDS)))
            return Judgement(none, kinds, kinds > 0, none, none > 0, np.zeros((0, AXES), np.float32))
        told = {"pixels": cells, "given": given, "diameter_um": diameter_um.astype(np.float32)}
        runs: Any = [
            self._session.run([*OUTPUTS, "axes"], {name: all_of[at : at + _BATCH] for name, all_of in told.items()})
            for at in range(0, len(cells), _BATCH)
        ]
        probability, kinds, sets, distance, outlier, axes = (np.concatenate(parts) for parts in zip(*runs, strict=True))
        return Judgement(
            probability.astype(np.float64), kinds.astype(np.float64), sets, distance.astype(np.float64), outlier, axes
        )


def _imported(name: str, where: str) -> Any:  # noqa: ANN401 - a module of an extra
    """Import a module of the extra `onnx`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"package {name} must be installed"
        raise ExportError(
            msg, where=where, got="none", advice="In the clone, run: pip install -e '.[onnx]'."
        ) from error
