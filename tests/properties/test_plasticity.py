"""What holds of learning whatever the spikes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leukospike.spikes.plasticity import RewardRates, StdpRates, reward_modulated_stdp

SILENT = 15


@st.composite
def steps(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Draw weights, latencies, winners, their times (several of one feature, some missing) and reinforcements."""
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    batch, k, features = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    channels, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    r, c = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    pick = torch.rand((batch, k, 3), generator=chance) * torch.tensor([features, r, c])
    missing = torch.rand((batch, k, 1), generator=chance) < draw(st.sampled_from([0.0, 0.3]))
    return {
        "weight": torch.rand((features, channels, height, width), generator=chance),
        "latency": torch.randint(
            SILENT + 1, (batch, channels, r + height - 1, c + width - 1), generator=chance, dtype=torch.uint8
        ),
        "times": torch.randint(SILENT, (batch, k), generator=chance, dtype=torch.uint8),
        "winners": pick.long().masked_fill(missing, -1),
        "reinforcement": torch.randint(-1, 2, (batch,), generator=chance),
    }


# Rates large enough that weights meet their bounds, where the order of steps matters most.
RATES = RewardRates(reward=StdpRates(causal=0.9, acausal=-0.7), punishment=StdpRates(causal=-2.5, acausal=3.0))


def learn(weight: torch.Tensor, step: dict[str, torch.Tensor], part: slice) -> torch.Tensor:
    return reward_modulated_stdp(
        weight,
        step["latency"][part],
        step["winners"][part],
        step["times"][part],
        step["reinforcement"][part].tolist(),
        rates=RATES,
    )


@settings(deadline=None)
@given(steps(), st.data())
def test_a_batch_is_its_images_one_after_another_however_divided(step, data):
    together = learn(step["weight"], step, slice(None))
    batch = len(step["latency"])
    borders = sorted(data.draw(st.sets(st.integers(1, batch - 1)) if batch > 1 else st.just(set())))
    divided = step["weight"]
    for first, last in zip([0, *borders], [*borders, batch], strict=True):
        divided = learn(divided, step, slice(first, last))
    assert torch.equal(together, divided)


@settings(deadline=None)
@given(steps())
def test_weights_stay_within_0_and_1_and_losers_do_not_change(step):
    changed = learn(step["weight"], step, slice(None))
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    learning = step["winners"][step["reinforcement"] != 0, :, 0].flatten().tolist()
    losers = [feature for feature in range(len(changed)) if feature not in learning]
    assert torch.equal(changed[losers], step["weight"][losers])
