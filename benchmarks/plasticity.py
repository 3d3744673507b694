"""Learning: one R-STDP step and one epoch of Mozafari 2018, against a dense description of the original."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

from benchmarks import measure, tables
from leukospike.smears import CellKind, draw_cell, subject_style
from leukospike.spikes import BINS, SpikingConv2d, gabor_bank, to_wave
from leukospike.spikes.decision import decide
from leukospike.spikes.mozafari import MozafariClassifier
from leukospike.spikes.plasticity import kept_features, reward_modulated_stdp

SEED, IMAGES, SIDE_PX = 0, 64, 224
FEATURES_PER_CLASS, KERNEL_PX, THRESHOLD = 10, 17, 42.0
CAUSAL, ACAUSAL = {1: 0.004, -1: -0.004}, {1: -0.003, -1: 0.0005}
FACTORS = (0.15, 0.12, 0.10, 0.07, 0.05)
REPETITIONS = {"update": 101, "step": 31, "epoch": 5}


def run() -> None:
    """Measure an update, a step and an epoch, and print and save the table."""
    results = {"update": _update(), "step": _step(), "epoch": _epoch()}
    titles = {
        "update": "R-STDP, the winner given",
        "step": "R-STDP step: S2, winner, update",
        "epoch": f"Mozafari epoch, {IMAGES} images",
    }
    rows = [
        {
            "work": titles[name],
            "ms": f"{1000 * result['ours_seconds']:,.3f}",
            "dense": f"{1000 * result['other_seconds']:,.3f}",
            "ratio": f"{result['ratio']:.1f} ({result['ratio_low']:.1f} to {result['ratio_high']:.1f})",
            "peak MB": f"{result['ours_peak_mb']:,.1f}" if name == "epoch" else "",
            "dense ": f"{result['dense_peak_mb']:,.1f}" if name == "epoch" else "",
            "held kB": f"{result['ours_bytes_held'] / 1000:,.1f}",
            "dense  ": f"{result['dense_bytes_held'] / 1000:,.1f}",
        }
        for name, result in results.items()
    ]
    repetitions = ", ".join(str(count) for count in REPETITIONS.values())
    notes = (
        f"S2 {KERNEL_PX}x{KERNEL_PX}, 4 to {2 * FEATURES_PER_CLASS} features, threshold {THRESHOLD:g}, on the C1 maps"
        f" (55x55) of drawn cells, {SIDE_PX} px, seed {SEED}.",
        "Dense: what the original simulator computes, in plain PyTorch, one image a call, waves of T x C x H x W;",
        "the resulting weights were the same within 1e-6. An epoch is everything from the grey images on; dropout 0.5.",
        f"Median of {repetitions} turns, ours and dense alternating in one process; ratio of the medians, in brackets",
        "the quartiles of the turns' own ratios.",
        "Peak: of a process that does the epoch, over its peak after the imports and the images.",
        "Held: the spikes that learning works on, for one image: its inputs, and of the outputs what is kept.",
    )
    print(tables.table("Plasticity", rows, notes=notes))
    tables.save("plasticity", {"seed": SEED, "repetitions": REPETITIONS, "cases": results})


def once(which: str, path: str) -> dict[str, float]:
    """Do one epoch on the images of a file, so that the process's peak memory is its own."""
    way = _ours_epoch if which == "ours" else _dense_epoch
    with np.load(path) as stored:
        images, labels = stored["images"], stored["labels"]
    # A first time on two small pieces, so that libraries and compiled code do not count, nor the images.
    way(images[:2, 77:147, 77:147].copy(), labels[:2])
    before = measure.peak_mb()
    way(images, labels)
    return {"over_first_mb": measure.peak_mb() - before}


def _update() -> dict[str, float]:
    """Measure the change of the weights alone."""
    latency, weight = _one_input()
    first = decide(_layer(weight), latency)
    winner = first.winners[0, 0].tolist()
    waves, spikes = to_wave(latency)[0], _dense_fire(conv2d(to_wave(latency)[0], weight)).sign()
    return _compared(
        "update",
        lambda: reward_modulated_stdp(weight, latency, first.winners, first.times, [1]),
        partial(_dense_stdp, weight, waves, spikes, winner, 1),
        held=(latency.nbytes, waves.nbytes + spikes.nbytes),
    )


def _step() -> dict[str, float]:
    """Measure a step from the inputs to the changed weights."""
    latency, weight = _one_input()
    waves, layer = to_wave(latency)[0], _layer(weight)

    def ours() -> Tensor:
        first = decide(layer, latency)
        return reward_modulated_stdp(layer.weight, latency, first.winners, first.times, [1])

    def dense() -> Tensor:
        potentials = _dense_fire(conv2d(waves, weight))
        winner = _dense_winner(potentials)
        assert winner is not None
        return _dense_stdp(weight, waves, potentials.sign(), winner, 1)

    # The potentials are there beside the spikes while the winner is sought.
    spikes = 2 * BINS * 4 * _dense_fire(conv2d(waves[:1], weight)).numel()
    return _compared("step", ours, dense, held=(latency.nbytes, waves.nbytes + spikes))


def _epoch() -> dict[str, float]:
    """Measure an epoch from the images to the changed weights, and its memory."""
    images, labels = _cells()
    latency, weight = _one_input()
    outputs = _dense_fire(conv2d(to_wave(latency)[0, :1], weight)).numel()
    result = _compared(
        "epoch",
        partial(_ours_epoch, images, labels),
        partial(_dense_epoch, images, labels),
        held=(latency.nbytes, BINS * 4 * (latency.numel() + 2 * outputs)),
    )
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, images=images, labels=labels)
        file.flush()
        ours, dense = (
            measure.apart("benchmarks.plasticity:once", which=which, path=file.name) for which in ("ours", "dense")
        )
    return {**result, "ours_peak_mb": ours["over_first_mb"], "dense_peak_mb": dense["over_first_mb"]}


def _compared(
    name: str, ours: Callable[[], Tensor], dense: Callable[[], Tensor], *, held: tuple[int, int]
) -> dict[str, float]:
    """Check that both ways come to the same weights, and time them by turns."""
    torch.testing.assert_close(ours(), dense(), rtol=0, atol=1e-6)
    timed = measure.by_turns(ours, dense, repetitions=REPETITIONS[name])
    return {**asdict(timed), "ours_bytes_held": held[0], "dense_bytes_held": held[1]}


@cache
def _cells() -> tuple[np.ndarray, np.ndarray]:
    """Draw lymphocytes and lymphoblasts, grey, (64, 224, 224), and which each is."""
    chance = np.random.default_rng(SEED)
    style, kinds = subject_style(chance), (CellKind.LYMPHOCYTE, CellKind.LYMPHOBLAST)
    labels = np.arange(IMAGES) % 2
    cells = [draw_cell(kinds[label], style, chance, size_px=SIDE_PX).pixels.mean(axis=2) / 255 for label in labels]
    return np.stack(cells).astype(np.float32), labels


def _model() -> MozafariClassifier:
    """Return the network before it has learned."""
    return MozafariClassifier(
        features_per_class=FEATURES_PER_CLASS, kernel_px=KERNEL_PX, threshold=THRESHOLD, epochs=1, random_state=SEED
    )


def _one_input() -> tuple[Tensor, Tensor]:
    """Return the C1 latencies of one cell, (1, 4, 55, 55), and S2 weights as they are drawn."""
    return _model().encode(_cells()[0][:1]), _drawn_weights()


def _drawn_weights() -> Tensor:
    """Draw the weights that the network begins with."""
    layer = SpikingConv2d(
        4, 2 * FEATURES_PER_CLASS, KERNEL_PX, threshold=THRESHOLD, generator=Generator().manual_seed(SEED)
    )
    return layer.weight.detach().clamp(0, 1)


def _layer(weight: Tensor) -> SpikingConv2d:
    """Make our layer around weights."""
    layer = SpikingConv2d(4, len(weight), KERNEL_PX, threshold=THRESHOLD, generator=Generator().manual_seed(SEED))
    layer.weight.copy_(weight)
    return layer


def _ours_epoch(images: np.ndarray, labels: np.ndarray) -> Tensor:
    """Learn for one epoch; give the weights."""
    return _model().fit(images, labels).layer_.weight


def _dense_epoch(images: np.ndarray, labels: np.ndarray) -> Tensor:
    """Learn the same, one image after another, every wave in full; give the weights."""
    seed = np.random.SeedSequence([SEED, 1]).generate_state(1, np.uint64)[0]
    generator = Generator().manual_seed(int(seed) >> 1)
    weight = _drawn_weights()
    kept = kept_features(len(weight), dropout=0.5, generator=generator).float()[:, None, None]
    for index in torch.randperm(len(images), generator=generator).tolist():
        waves = _dense_c1(torch.from_numpy(images[index])[None, None])
        potentials = _dense_fire(conv2d(waves, weight)) * kept
        winner = _dense_winner(potentials)
        if winner is not None:
            answer = 1 if winner[0] // FEATURES_PER_CLASS == labels[index] else -1
            weight = _dense_stdp(weight, waves, potentials.sign(), winner, answer)
    return weight


def _dense_c1(image: Tensor) -> Tensor:
    """Return the waves of C1: edges, pooling, lateral inhibition, ranks, one orientation a position."""
    responses = max_pool2d(conv2d(image, gabor_bank()).abs(), 5, 4, 2)[0]
    rows, columns = responses.shape[1:]
    reach = len(FACTORS)
    padded, gain = pad(responses, (reach,) * 4), torch.zeros_like(responses)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down or right:
                other = padded[:, reach + down :, reach + right :][:, :rows, :columns]
                gain += (responses > other).float() * FACTORS[max(abs(down), abs(right)) - 1]
    strength = responses + responses * gain
    order = strength.flatten().sort(descending=True).indices
    per_bin = int(strength.count_nonzero()) // BINS
    waves = torch.zeros(BINS, strength.numel())
    for step, chosen in enumerate(order[: BINS * per_bin].split(per_bin)):
        if step:
            waves[step] = waves[step - 1]
        waves[step, chosen] = 1
    waves = waves.view(BINS, *strength.shape)
    # The earliest orientation survives, among equally early ones the strongest.
    rank = waves.sum(dim=0) + strength / (2 * strength.max())
    return waves * torch.zeros_like(strength).scatter_(0, rank.argmax(dim=0, keepdim=True), 1)


def _dense_fire(potentials: Tensor) -> Tensor:
    """Keep potentials where a neuron has fired."""
    return torch.where(potentials > THRESHOLD, potentials, 0)


def _dense_winner(potentials: Tensor) -> list[int] | None:
    """Return feature, row and column of the earliest and then strongest neuron of all waves."""
    steps = potentials.sign().sum(dim=0)
    if not bool(steps.any()):
        return None
    at_first_spike = potentials.gather(0, (BINS - steps).clamp(max=BINS - 1).long()[None])[0]
    rank = torch.where(steps == steps.max(), at_first_spike, 0)
    _, rows, columns = rank.shape
    index = int(rank.argmax())
    return [index // (rows * columns), index // columns % rows, index % columns]


def _dense_stdp(weight: Tensor, waves: Tensor, spikes: Tensor, winner: list[int], answer: int) -> Tensor:
    """Count the time steps since each spike, compare, and change all weights, most of them by 0."""
    feature, row, column = winner
    inputs = waves.sum(dim=0)[:, row : row + KERNEL_PX, column : column + KERNEL_PX]
    causal = inputs >= spikes.sum(dim=0)[feature, row, column]
    rate = torch.zeros_like(weight)
    rate[feature] = torch.where(causal, CAUSAL[answer], ACAUSAL[answer])
    return (weight + rate * weight * (1 - weight)).clamp(0, 1)
