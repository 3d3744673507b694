"""31-layer network: images a second in training and inference, channels last against the default layout."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import measure, tables
from leukospike.original.network import ResidualNetwork

SEED, BATCH, SIZE_PX, REPETITIONS = 0, 32, 100, 9


def run() -> None:
    """Measure training and inference, and print and save the table."""
    chance = torch.Generator().manual_seed(SEED)
    images = torch.randn((BATCH, 1, SIZE_PX, SIZE_PX), generator=chance)
    labels = torch.randint(2, (BATCH,), generator=chance)
    results = {
        "training step (Adam)": _compared(partial(_training_step, images, labels)),
        "inference": _compared(partial(_inference, images)),
    }
    rows = [
        {
            "work": name,
            "channels last image/s": f"{BATCH / result['ours_seconds']:.1f}",
            "default image/s": f"{BATCH / result['other_seconds']:.1f}",
            "ratio": f"{result['ratio']:.2f} ({result['ratio_low']:.2f} to {result['ratio_high']:.2f})",
        }
        for name, result in results.items()
    ]
    notes = (
        f"{SIZE_PX}x{SIZE_PX} grey, batch {BATCH}, noise and labels by seed {SEED}, weights the same in both layouts;",
        "outputs agreed before timing: losses and probabilities within 1e-4.",
        f"Median of {REPETITIONS} turns, the layouts alternating in one process; ratio of the medians, in brackets the",
        "quartiles of the turns' own ratios.",
    )
    print(tables.table("31-layer network", rows, notes=notes))
    tables.save("network", {"seed": SEED, "batch": BATCH, "repetitions": REPETITIONS, "cases": results})


def _compared(work: Callable[[ResidualNetwork], Callable[[], Tensor]]) -> dict[str, float]:
    """Do the same work with both layouts, check that it comes to the same, and time it by turns."""
    last, default = (work(_network(layout)) for layout in (torch.channels_last, torch.contiguous_format))
    torch.testing.assert_close(last(), default(), rtol=0, atol=1e-4)
    return asdict(measure.by_turns(last, default, repetitions=REPETITIONS))


def _network(layout: torch.memory_format) -> ResidualNetwork:
    """Make the network with its convolutions' weights in a layout, which the images between them follow."""
    network = ResidualNetwork(image_size=SIZE_PX, generator=torch.Generator().manual_seed(SEED))
    network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    between = network.stem(torch.zeros(2, 1, SIZE_PX, SIZE_PX))
    if not between.is_contiguous(memory_format=layout):
        msg = f"the network does not keep to {layout}"
        raise AssertionError(msg)
    return network


def _training_step(images: Tensor, labels: Tensor, network: nn.Module) -> Callable[[], Tensor]:
    """Return one step of Adam, as a call that returns the loss."""
    optimiser = torch.optim.Adam(network.parameters())
    network.train()

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(network(images), labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def _inference(images: Tensor, network: ResidualNetwork) -> Callable[[], Tensor]:
    """Return one pass without gradients, as a call that returns the probabilities."""
    network.eval()
    return torch.inference_mode()(partial(network.probabilities, images))
