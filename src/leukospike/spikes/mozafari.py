"""The network of Mozafari 2018, ready to use: oriented edges, then features learned from reward; the first one decides.

It follows scikit-learn's conventions and can be cross-validated and tuned like any other classifier.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor

from leukospike.errors import ConfigError, DataError, ImageError
from leukospike.spikes.convolution import SpikingConv2d
from leukospike.spikes.decision import decide
from leukospike.spikes.encoding import BINS, rank_order_latency
from leukospike.spikes.gabor import ORIENTATIONS_DEG, RADIUS_PX, edge_responses_by_rows
from leukospike.spikes.inhibition import lateral_inhibition, pointwise_inhibition
from leukospike.spikes.maps import check_count
from leukospike.spikes.plasticity import Reinforcement, RewardRates, kept_features, reward_modulated_stdp
from leukospike.spikes.pooling import pool_intensity
from leukospike.spikes.waves import Spikes

# Images processed at a time. Measured on a CPU: more do not fit the cache, and each image takes longer.
_CPU_BATCH, _GPU_BATCH = 1, 64
_ORIGINAL_RATES = RewardRates()


@dataclass(frozen=True)
class EpochResult:
    """Answers to the images of one epoch while the network learned from them."""

    epoch: int
    """Counted from 1."""
    right: int
    wrong: int
    silent: int
    """Images for which no feature spiked; nothing is learned from them."""


class MozafariClassifier(ClassifierMixin, BaseEstimator):
    r"""Classify images by the feature that spikes first; features are learned from reward and punishment.

    S1: Gabor edges of 4 orientations. C1: the strongest response of each `pool_px` window; lateral inhibition;
    rank-order latency; one orientation per position. S2: `features_per_class` integrate-and-fire features for each
    class. C2: the first S2 neuron to spike, over the whole map, decides for its feature's class; ties go to the highest
    potential. If the decision is right, its synapses learn by STDP; if it is wrong, by the reverse. Rates follow the
    shares of right and wrong answers of the previous epoch (the first epoch has the full rates), and each feature sits
    out an epoch with probability `dropout`.

    Images are learned one after another, in an order drawn for each epoch, as in [1]_; how they are grouped for
    computing changes nothing. There is one departure: if no feature reaches the threshold, `predict` answers with the
    neuron that comes nearest to it, where [1]_ gives no answer. `first_spikes` shows which images these are.

    Parameters
    ----------
    features_per_class : int
        Number of S2 features for each class.
    kernel_px : int
        Side of an S2 window, in positions of C1.
    threshold : float or None
        Value that an S2 potential must exceed to spike. With None all input is awaited, and the highest potential
        decides.
    pool_px, pool_stride_px : int
        Window and step of C1, pixels.
    bins : int
        Number of time steps of the latency coding.
    epochs : int
        Passes over the images in `fit`.
    dropout : float
        Probability that a feature is left out of an epoch, at least 0 and below 1.
    rates : RewardRates
        Rates of reward and punishment before they adapt.
    device : str
        Device to compute on, as torch names it.
    random_state : int
        Seed of the initial weights, and of each epoch's order and dropout.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    layer_ : SpikingConv2d
        S2; the features of class k begin at k * features_per_class.
    history_ : list of EpochResult
        All epochs so far.

    References
    ----------
    .. [1] Mozafari et al., First-Spike-Based Visual Categorization Using Reward-Modulated STDP, IEEE TNNLS
       29(12):6178-6190, 2018, doi 10.1109/TNNLS.2018.2826721.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((8, 24, 24), np.float32)
    >>> images[:4, 6::8] = 1  # bars along rows
    >>> images[4:, :, 6::8] = 1  # bars along columns
    >>> labels = ["across"] * 4 + ["down"] * 4
    >>> model = MozafariClassifier(features_per_class=2, kernel_px=3, threshold=2.0, epochs=30, pool_stride_px=2)
    >>> model.fit(images, labels).score(images, labels)
    1.0
    """

    def __init__(
        self,
        *,
        features_per_class: int = 10,
        kernel_px: int = 17,
        threshold: float | None = 42.0,
        pool_px: int = 5,
        pool_stride_px: int = 4,
        bins: int = BINS,
        epochs: int = 100,
        dropout: float = 0.5,
        rates: RewardRates = _ORIGINAL_RATES,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.features_per_class = features_per_class
        self.kernel_px = kernel_px
        self.threshold = threshold
        self.pool_px = pool_px
        self.pool_stride_px = pool_stride_px
        self.bins = bins
        self.epochs = epochs
        self.dropout = dropout
        self.rates = rates
        self.device = device
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike, *, on_epoch: Callable[[EpochResult], None] | None = None
    ) -> "MozafariClassifier":
        """Learn from labelled images, starting from new weights.

        Parameters
        ----------
        X : array of shape (n, rows, columns) or (n, 1, rows, columns), float
            Grey images, 0 to 1.
        y : array of shape (n,)
            One label per image: text, integers or Booleans, of at least two classes.
        on_epoch : callable, optional
            Called after each epoch with its `EpochResult`.

        Returns
        -------
        MozafariClassifier
            The fitted classifier.

        Raises
        ------
        ImageError
            If the images have another shape, are too small for the windows, outside 0..1 or not finite, or one is
            blank.
        DataError
            If there is not one label per image, or there is only one class.
        ConfigError
            If a setting is impossible.
        """
        inputs, labels = self._checked_pair(X, y)
        self._begin(np.unique(labels))
        for _ in range(self.epochs):
            self._learn(inputs, labels, on_epoch)
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        *,
        on_epoch: Callable[[EpochResult], None] | None = None,
    ) -> "MozafariClassifier":
        """Learn for one more epoch from the current weights; `epochs` such calls equal `fit`.

        Parameters
        ----------
        X, y, on_epoch
            As for `fit`.
        classes : array of shape (n_classes,), optional
            All labels, if the first call does not contain every one.

        Returns
        -------
        MozafariClassifier
            The fitted classifier.

        Raises
        ------
        ImageError, DataError, ConfigError
            As for `fit`; DataError also if a label is not among the classes of the first call.
        """
        inputs, labels = self._checked_pair(X, y)
        if not hasattr(self, "layer_"):
            self._begin(np.unique(labels if classes is None else _checked_labels(classes)))
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            msg = f"y must hold only labels from {self.classes_.tolist()}"
            raise DataError(
                msg,
                where="MozafariClassifier",
                got=unknown[:1].tolist(),
                advice="Pass all classes to the first call of partial_fit.",
            )
        self._learn(inputs, labels, on_epoch)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the class of the feature that spikes first.

        Parameters
        ----------
        X : array of shape (n, rows, columns) or (n, 1, rows, columns), float
            Grey images, 0 to 1.

        Returns
        -------
        ndarray of shape (n,), of the labels' type
            If nothing spikes, the class of the neuron that comes nearest to the threshold.

        Raises
        ------
        ImageError
            As for `fit`.
        """
        check_is_fitted(self)
        patient = _layer_like(self.layer_, self.layer_.weight, threshold=None)
        decided = [np.zeros(0, np.int64)]
        for inputs in self._encoded_batches(X, "predict"):
            winners = decide(self.layer_, inputs).winners[:, 0, 0]
            silent = winners < 0
            if bool(silent.any()):
                winners[silent] = decide(patient, inputs[silent]).winners[:, 0, 0]
            decided.append(winners.cpu().numpy())
        return self.classes_[np.concatenate(decided) // self.features_per_class]

    def first_spikes(self, X: ArrayLike) -> np.ndarray:
        """Return the neuron that spikes first for each image.

        Parameters
        ----------
        X : array of shape (n, rows, columns) or (n, 1, rows, columns), float
            Grey images, 0 to 1.

        Returns
        -------
        ndarray of shape (n, 3), int64
            Feature, row and column on the map of S2; -1 if nothing spikes.

        Raises
        ------
        ImageError
            As for `fit`.
        """
        check_is_fitted(self)
        found = [
            decide(self.layer_, inputs).winners[:, 0].cpu().numpy()
            for inputs in self._encoded_batches(X, "first_spikes")
        ]
        return np.concatenate([np.zeros((0, 3), np.int64), *found])

    def encode(self, X: ArrayLike) -> Tensor:
        """Return the latencies that S2 receives.

        Parameters
        ----------
        X : array of shape (n, rows, columns) or (n, 1, rows, columns), float
            Grey images, 0 to 1.

        Returns
        -------
        Tensor of shape (n, 4, r, c), uint8
            Spikes of C1: 0 to bins - 1; bins is silent.

        Raises
        ------
        ImageError
            As for `fit`.
        """
        return torch.cat(list(self._encoded_batches(X, "encode")))

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn that images are not tables."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def _begin(self, classes: np.ndarray) -> None:
        """Draw new weights for these classes."""
        if len(classes) < 2:
            msg = "y must hold at least two classes"
            raise DataError(msg, where="MozafariClassifier", got=classes.tolist(), advice="Pass images of each class.")
        for name, least in (("features_per_class", 1), ("epochs", 1), ("random_state", 0)):
            check_count(getattr(self, name), "MozafariClassifier", name, least=least, advice="Raise it.")
        self.classes_ = classes
        self.history_: list[EpochResult] = []
        self.layer_ = SpikingConv2d(
            len(ORIENTATIONS_DEG),
            # A parameter search sets NumPy's integers, which are not int.
            len(classes) * int(self.features_per_class),
            int(self.kernel_px),
            threshold=self.threshold,
            bins=int(self.bins),
            generator=Generator().manual_seed(int(self.random_state)),
        ).to(self.device)
        self.layer_.weight.clamp_(0, 1)  # where learning keeps them

    def _checked_pair(self, X: ArrayLike, y: ArrayLike) -> tuple[Tensor, np.ndarray]:
        """Encode images, and raise an error unless there is one label for each."""
        labels = _checked_labels(y)
        inputs = self.encode(X)
        if len(labels) != len(inputs):
            msg = f"y must hold a label for each of {len(inputs)} images"
            raise DataError(msg, where="MozafariClassifier", got=len(labels), advice="Pass as many labels as images.")
        return inputs, labels

    def _learn(self, inputs: Tensor, labels: np.ndarray, on_epoch: Callable[[EpochResult], None] | None) -> None:
        """Show every image once."""
        epoch = len(self.history_) + 1
        rates = self.rates
        if self.history_:
            last = self.history_[-1]
            rates = rates.adapted(right=last.right, wrong=last.wrong, total=last.right + last.wrong + last.silent)
        # An epoch's random numbers depend only on its number, so that training can resume from a file.
        seed = np.random.SeedSequence([self.random_state, epoch]).generate_state(1, np.uint64)[0]
        generator = Generator().manual_seed(int(seed) >> 1)
        kept = kept_features(len(self.layer_.weight), dropout=self.dropout, generator=generator).nonzero().flatten()
        order = torch.randperm(len(inputs), generator=generator).tolist()
        right = wrong = 0
        if len(kept):  # otherwise nothing spikes
            right, wrong = self._show(inputs[order], np.searchsorted(self.classes_, labels)[order], kept, rates)
        result = EpochResult(epoch, right, wrong, len(inputs) - right - wrong)
        self.history_.append(result)
        if on_epoch is not None:
            on_epoch(result)

    def _show(self, inputs: Tensor, classes: np.ndarray, kept: Tensor, rates: RewardRates) -> tuple[int, int]:
        """Train the kept features on images in order; count right and wrong answers."""
        layer = _layer_like(self.layer_, self.layer_.weight[kept.to(self.device)], threshold=self.threshold)
        class_of = (kept // self.features_per_class).tolist()
        answers = dict.fromkeys(Reinforcement, 0)
        for image, its_class in zip(inputs.split(1), classes.tolist(), strict=True):
            first = decide(layer, image)
            feature = int(first.winners[0, 0, 0])
            if feature < 0:
                continue
            reinforcement = Reinforcement.REWARD if class_of[feature] == its_class else Reinforcement.PUNISHMENT
            answers[reinforcement] += 1
            layer.weight.copy_(
                reward_modulated_stdp(layer.weight, image, first.winners, first.times, [reinforcement], rates=rates)
            )
        self.layer_.weight[kept.to(self.device)] = layer.weight
        return answers[Reinforcement.REWARD], answers[Reinforcement.PUNISHMENT]

    def _encoded_batches(self, X: ArrayLike, where: str) -> Iterator[Tensor]:
        """Encode images batch by batch."""
        images = self._checked_images(X, where)
        size = _CPU_BATCH if self.device == "cpu" else _GPU_BATCH
        for first in range(0, max(len(images), 1), size):
            batch = images[first : first + size].to(self.device)
            edges = _edges(batch)
            responses = pool_intensity(edges, self.pool_px, self.pool_stride_px, self.pool_px // 2)
            strength = lateral_inhibition(responses)
            latency = rank_order_latency(strength, bins=self.bins)
            inputs = pointwise_inhibition(Spikes(latency, strength, self.bins)).latency
            # An image of one grey leaves only rounding errors, which would spike like anything else.
            blank = (inputs == self.bins).flatten(1).all(dim=1) | _uniform(batch)
            if bool(blank.any()):
                msg = f"MozafariClassifier.{where}: images must have edges"
                raise ImageError(
                    msg, got=f"a blank one at index {first + int(blank.nonzero()[0])}", advice="Leave it out."
                )
            yield inputs

    def _checked_images(self, X: ArrayLike, where: str) -> Tensor:
        """Return images as (n, 1, rows, columns); raise an error for anything else, and for impossible windows."""
        for name in ("kernel_px", "pool_px", "pool_stride_px"):
            check_count(getattr(self, name), "MozafariClassifier", name, least=1, advice="Use a number of pixels.")
        try:
            torch.empty(0, device=self.device)
        except (AssertionError, RuntimeError) as error:
            msg = "device must be available to torch on this machine"
            raise ConfigError(msg, where="MozafariClassifier", got=self.device, advice="Use cpu or cuda.") from error
        try:
            images = torch.from_numpy(np.ascontiguousarray(X, dtype=np.float32))
        except (TypeError, ValueError) as error:
            msg = f"MozafariClassifier.{where}: X must be an array of numbers"
            raise ImageError(msg, got=error, advice="Use images of one size.") from error
        if images.ndim == 3:
            images = images[:, None]
        if images.ndim != 4 or images.shape[1] != 1:
            msg = f"MozafariClassifier.{where}: X must be (n, rows, columns) or (n, 1, rows, columns)"
            raise ImageError(msg, got=tuple(np.shape(X)), advice="Convert the images to grey.")
        padding = self.pool_px // 2
        smallest = 2 * RADIUS_PX + self.pool_px - 2 * padding + self.pool_stride_px * (self.kernel_px - 1)
        if min(images.shape[2:]) < smallest:
            msg = f"MozafariClassifier.{where}: X must be at least {smallest} x {smallest} pixels for these windows"
            raise ImageError(
                msg, got=f"{images.shape[2]} x {images.shape[3]}", advice="Lower kernel_px or pool_stride_px."
            )
        if images.numel():
            low, high = (float(value) for value in torch.aminmax(images))
            if not (low >= 0 and high <= 1):  # written so that NaN is refused
                msg = f"MozafariClassifier.{where}: X must hold values from 0 to 1"
                raise ImageError(msg, got=f"{low:g} to {high:g}", advice="Divide 8-bit values by 255.")
        return images


def _edges(images: Tensor) -> Tensor:
    """Return the strength of each orientation at each pixel, as `gabor.edge_responses` does, in half the time."""
    by_rows = edge_responses_by_rows(images)
    count, at_once, orientations, some_rows, columns = by_rows.shape
    woven = by_rows.permute(0, 2, 3, 1, 4).reshape(count, orientations, at_once * some_rows, columns)
    return woven[:, :, : images.shape[2] - 2 * RADIUS_PX]


def _uniform(images: Tensor) -> Tensor:
    """Return which images have one grey throughout."""
    values = images.flatten(1)
    return values.amin(dim=1) == values.amax(dim=1)


def _layer_like(layer: SpikingConv2d, weight: Tensor, *, threshold: float | None) -> SpikingConv2d:
    """Make a layer with other features or another threshold, and with weights of its own."""
    features, channels, height, width = weight.shape
    other = SpikingConv2d(
        channels, features, (height, width), threshold=threshold, bins=layer.bins, generator=Generator().manual_seed(0)
    ).to(weight.device)
    other.weight.copy_(weight)
    return other


def _checked_labels(y: ArrayLike) -> np.ndarray:
    """Return labels as a vector; raise an error for anything else."""
    try:
        labels = np.asarray(y)
    except ValueError:  # rows of different lengths
        labels = np.asarray(y, dtype=object)
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        msg = "y must be a vector of text, integers or Booleans"
        raise DataError(
            msg,
            where="MozafariClassifier",
            got=f"{labels.dtype} of shape {labels.shape}",
            advice="Pass one label per image.",
        )
    return labels
