"""Export of the classifier as one ONNX file, from pixels to probability, for programs without PyTorch."""

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
from scipy.special import logit
from torch import Tensor, nn
from torch.nn import functional

from leukospike.classification.appearance import appearance_of
from leukospike.classification.classifier import Classifier, Judgement
from leukospike.classification.network_input import CROP_PX, REDUCTION
from leukospike.confidence.calibration import CLOSEST
from leukospike.errors import ExportError
from leukospike.images.framing import C_NMC_FRAMING
from leukospike.storage.files import written_whole

if TYPE_CHECKING:
    import onnxruntime

OUTPUTS = ("probability", "set", "distance", "outlier")
"""Names of the graph's outputs."""

_OPSET = 18
_BATCH = 64


class _CropsToJudgement(nn.Module):
    """`Classifier.judge` as one graph."""

    centres: Tensor
    whitening: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._networks = classifier.networks
        for number, network in enumerate(classifier.networks):
            self.add_module(f"network_{number}", network)
        self._confidence = classifier.confidence
        whitening = torch.from_numpy(classifier.distance.whitening)
        self.register_buffer("whitening", whitening)
        self.register_buffer("centres", torch.from_numpy(classifier.distance.means) @ whitening)
        self._furthest = float(logit(1 - CLOSEST))

    def forward(
        self, pixels: UInt8[Tensor, "batch 96 96 3"]
    ) -> tuple[Float[Tensor, " batch"], Bool[Tensor, "batch 2"], Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
        """Judge crops."""
        return self.judged(pixels.permute(0, 3, 1, 2).float())

    def judged(
        self, values: Float[Tensor, "batch 3 96 96"]
    ) -> tuple[Float[Tensor, " batch"], Bool[Tensor, "batch 2"], Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
        """Judge crops of values from 0 to 255, channels first."""
        # Of a cell of an even colour, onnxruntime says 0 / 0 where torch says 0 / 1e-12.
        measures = torch.nan_to_num(appearance_of(values / 255), nan=0.0)
        embedding = self._networks[0].standardised(measures)
        logits = torch.stack([network.decide(embedding) for network in self._networks]).mean(dim=0)
        score = (logits[:, 1] - logits[:, 0]).clamp(-self._furthest, self._furthest)
        calibration, conformal = self._confidence.calibration, self._confidence.conformal
        probability = torch.sigmoid(calibration.slope * score + calibration.offset)
        sets = torch.stack([probability <= conformal.normal, 1 - probability <= conformal.leukemic], dim=1)
        apart = (embedding @ self.whitening)[:, None] - self.centres[None]
        distance = (apart * apart).sum(dim=2).sqrt().amin(dim=1)
        return probability, sets, distance, distance > self._confidence.outlier_distance


class _PixelsToJudgement(_CropsToJudgement):
    """The same from pictures, preceded by `network_input.cell_crop`."""

    def forward(
        self, pixels: UInt8[Tensor, "batch 450 450 3"]
    ) -> tuple[Float[Tensor, " batch"], Bool[Tensor, "batch 2"], Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
        """Judge pictures framed as `C_NMC_FRAMING` says."""
        first = (C_NMC_FRAMING.side_px - CROP_PX * REDUCTION) // 2
        last = C_NMC_FRAMING.side_px - first
        middle = pixels[:, first:last, first:last].permute(0, 3, 1, 2).float()
        values = (functional.avg_pool2d(middle, REDUCTION) + 0.5).floor()
        probability, sets, distance, outlier = self.judged(values)
        # As in `analyze`: a blank picture gets no probability.
        blank = (values.amax(dim=(2, 3)) == values.amin(dim=(2, 3))).all(dim=1)
        probability = torch.where(blank, torch.full_like(probability, torch.nan), probability)
        return probability, sets | blank[:, None], distance, outlier | blank


def export_onnx(classifier: Classifier, path: Path, *, from_crops: bool = False) -> None:
    """Write a classifier as an ONNX graph, whole or not at all.

    Input `pixels`: uint8 of shape (batch, 450, 450, 3), RGB, each a cell cut out on black as C-NMC shows its cells.
    Outputs: `probability` (float32), `set` (bool, whether normal and whether leukemic stays possible), `distance`
    (float32) and `outlier` (bool). A picture of one colour shows no cell: its probability is NaN, both classes remain
    possible, and it is an outlier. The batch may have any size. The model card lies in the metadata, as JSON.

    Parameters
    ----------
    classifier : Classifier
    path : Path
    from_crops : bool
        True: the input is of shape (batch, 96, 96, 3), as `network_input.cell_crop` makes it.

    Raises
    ------
    ExportError
        If the extra `onnx` is not installed.
    """
    onnx = _imported("onnx", "export_onnx")
    _imported("onnxscript", "export_onnx")
    graph = (_CropsToJudgement if from_crops else _PixelsToJudgement)(classifier).eval()
    side = CROP_PX if from_crops else C_NMC_FRAMING.side_px
    example = torch.full((2, side, side, 3), 127, dtype=torch.uint8)
    with written_whole(path) as part:  # first, so that a folder that cannot be written to costs no minute
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")  # users can do nothing about the exporter's internal warnings
            log = logging.getLogger("torch.onnx")
            level = log.level
            log.setLevel(logging.ERROR)
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                input_names=["pixels"],
                output_names=list(OUTPUTS),
                dynamic_shapes={"pixels": {0: torch.export.Dim("batch", min=1)}},
                opset_version=_OPSET,
                verbose=False,
            )
            log.setLevel(level)
            graph_file = Path(folder) / "graph.onnx"
            if program is None:
                raise TypeError(program)
            program.save(str(graph_file), external_data=False)
            model = onnx.load(str(graph_file))
        for name, value in (("leukospike", json.dumps(dict(classifier.card))), ("digest", classifier.digest())):
            entry = model.metadata_props.add()
            entry.key, entry.value = name, value
        part.write_bytes(model.SerializeToString())


class OnnxJudge:
    """A classifier that judges by its exported graph."""

    def __init__(self, classifier: Classifier) -> None:
        runtime = _imported("onnxruntime", "OnnxJudge")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "classifier.onnx"
            export_onnx(classifier, path, from_crops=True)
            self._session: onnxruntime.InferenceSession = runtime.InferenceSession(
                path.read_bytes(), providers=["CPUExecutionProvider"]
            )

    def judge(self, crops: UInt8[np.ndarray, "n rows columns 3"]) -> Judgement:
        """Judge cells as `Classifier.judge` does, within 1e-4 of its probabilities."""
        if not len(crops):
            return Judgement(np.zeros(0), np.zeros((0, 2), bool), np.zeros(0), np.zeros(0, bool))
        runs: Any = [
            self._session.run(list(OUTPUTS), {"pixels": crops[at : at + _BATCH]}) for at in range(0, len(crops), _BATCH)
        ]
        probability, sets, distance, outlier = (np.concatenate(parts) for parts in zip(*runs, strict=True))
        return Judgement(probability.astype(np.float64), sets, distance.astype(np.float64), outlier)


def _imported(name: str, where: str) -> Any:  # noqa: ANN401 - a module of an extra
    """Import a module of the extra `onnx`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"package {name} must be installed"
        raise ExportError(
            msg, where=where, got="none", advice="In the clone, run: pip install -e '.[onnx]'."
        ) from error
