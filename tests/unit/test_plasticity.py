import pytest
import torch

from leukospike.errors import ConfigError
from leukospike.spikes.plasticity import (
    Reinforcement,
    RewardRates,
    StdpRates,
    kept_features,
    reward_modulated_stdp,
    stdp,
    winner_times,
)

SILENT = 15
RATES = StdpRates(causal=0.4, acausal=-0.2)


def uint8(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


def one_step(weight: float, *, input_latency: int, winner_latency: int = 5, rates: StdpRates = RATES) -> float:
    """Learn with one synapse of one neuron."""
    latency, times = uint8([[[[input_latency]]]]), uint8([[winner_latency]])
    winners = torch.zeros((1, 1, 3), dtype=torch.int64)
    return stdp(torch.full((1, 1, 1, 1), weight), latency, winners, times, rates=rates).item()


@pytest.mark.parametrize("input_latency", [0, 4, 5])
def test_inputs_no_later_than_the_winner_take_the_causal_rate(input_latency):
    assert one_step(0.25, input_latency=input_latency) == pytest.approx(0.25 + 0.4 * 0.25 * 0.75)


@pytest.mark.parametrize("input_latency", [6, 14, SILENT])
def test_later_and_silent_inputs_take_the_acausal_rate(input_latency):
    assert one_step(0.25, input_latency=input_latency) == pytest.approx(0.25 - 0.2 * 0.25 * 0.75)


@pytest.mark.parametrize("bound", [0.0, 1.0])
def test_weights_stay_at_the_bounds(bound):
    assert one_step(bound, input_latency=0) == bound


def test_a_large_rate_stops_at_the_bounds():
    assert one_step(0.5, input_latency=0, rates=StdpRates(causal=9.0, acausal=-9.0)) == 1
    assert one_step(0.5, input_latency=9, rates=StdpRates(causal=9.0, acausal=-9.0)) == 0


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give weights of 3 features of 2 x 2 x 3, two images' latencies of 2 x 5 x 7, and times of a winner each."""
    chance = torch.Generator().manual_seed(0)
    weight = torch.rand((3, 2, 2, 3), generator=chance)
    latency = torch.randint(SILENT + 1, (2, 2, 5, 7), generator=chance, dtype=torch.uint8)
    return weight, latency, uint8([[6], [9]])


def test_only_the_winners_feature_changes_and_by_its_own_field(drawn):
    weight, latency, times = drawn
    winners = torch.tensor([[[1, 2, 4]], [[-1, -1, -1]]])
    changed = stdp(weight, latency, winners, times, rates=RATES)
    rate = torch.where(latency[0, :, 2:4, 4:7] <= 6, 0.4, -0.2)
    torch.testing.assert_close(changed[1], weight[1] + rate * weight[1] * (1 - weight[1]))
    assert torch.equal(changed[[0, 2]], weight[[0, 2]])


def test_the_weights_given_are_not_modified(drawn):
    weight, latency, times = drawn
    before = weight.clone()
    stdp(weight, latency, torch.zeros((2, 1, 3), dtype=torch.int64), times, rates=RATES)
    assert torch.equal(weight, before)


def test_inputs_in_the_padding_never_spike():
    latency, times = uint8([[[[0]]]]), uint8([[14]])
    weight = torch.full((1, 1, 1, 3), 0.5)
    middle = torch.tensor([[[0, 1, 0]]])
    changed = stdp(weight, latency, middle, times, rates=RATES, padding=1)
    torch.testing.assert_close(changed.flatten(), torch.tensor([0.45, 0.6, 0.45]))


def test_times_of_winners():
    spikes = torch.arange(24, dtype=torch.uint8).view(1, 2, 3, 4)
    winners = torch.tensor([[[1, 2, 3], [0, 1, 0], [-1, -1, -1]]])
    assert winner_times(spikes, winners)[0, :2].tolist() == [23, 4]


def test_reward_punishment_and_nothing(drawn):
    weight, latency, times = drawn
    winners = torch.tensor([[[1, 2, 4]], [[0, 0, 0]]])
    rates = RewardRates(reward=RATES, punishment=StdpRates(causal=-0.1, acausal=0.3))
    changed = reward_modulated_stdp(weight, latency, winners, times, [1, -1], rates=rates)
    assert torch.equal(changed[1], stdp(weight, latency, winners, times, rates=rates.reward)[1])
    assert torch.equal(changed[0], stdp(weight, latency, winners, times, rates=rates.punishment)[0])
    assert torch.equal(reward_modulated_stdp(weight, latency, winners, times, [0, 0], rates=rates), weight)


def test_the_default_rates_are_the_originals():
    rates = RewardRates()
    assert (rates.reward.causal, rates.reward.acausal) == (0.004, -0.003)
    assert (rates.punishment.causal, rates.punishment.acausal) == (-0.004, 0.0005)
    assert rates.of(Reinforcement.REWARD) == rates.reward
    assert rates.of(Reinforcement.PUNISHMENT) == rates.punishment
    assert rates.of(Reinforcement.NOTHING) is None


def test_rates_adapt_to_the_shares_of_right_and_wrong_answers():
    rates = RewardRates().adapted(right=6, wrong=3, total=10)
    assert rates.reward.causal == pytest.approx(0.004 * 0.3)
    assert rates.reward.acausal == pytest.approx(-0.003 * 0.3)
    assert rates.punishment.causal == pytest.approx(-0.004 * 0.6)
    assert rates.punishment.acausal == pytest.approx(0.0005 * 0.6)


@pytest.mark.parametrize(("right", "wrong", "total"), [(-1, 0, 4), (0, -1, 4), (3, 2, 4), (0, 0, 0)])
def test_answers_that_cannot_be(right, wrong, total):
    with pytest.raises(ConfigError, match=r"RewardRates\.adapted: right and wrong must be at least 0"):
        RewardRates().adapted(right=right, wrong=wrong, total=total)


def test_dropout_leaves_out_its_share_and_repeats_by_seed():
    kept = kept_features(10_000, dropout=0.3, generator=torch.Generator().manual_seed(1))
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.02)
    assert torch.equal(kept, kept_features(10_000, dropout=0.3, generator=torch.Generator().manual_seed(1)))
    assert bool(kept_features(10, dropout=0, generator=torch.Generator()).all())


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_outside_its_range(dropout):
    with pytest.raises(ConfigError, match="kept_features: dropout must be at least 0 and below 1, got"):
        kept_features(3, dropout=dropout, generator=torch.Generator())


@pytest.mark.parametrize("winner", [[3, 0, 0], [0, 4, 0], [0, 0, 5], [0, -1, 0]])
def test_winners_outside_the_map(drawn, winner):
    weight, latency, times = drawn
    with pytest.raises(ConfigError, match=r"stdp: winners must lie on a map of \(3, 4, 5\), got \["):
        stdp(weight, latency, torch.tensor([[winner], [[0, 0, 0]]]), times, rates=RATES)


def test_one_reinforcement_an_image(drawn):
    weight, latency, times = drawn
    with pytest.raises(ConfigError, match=r"reinforcement must hold one value per image \(2\), got 1"):
        reward_modulated_stdp(weight, latency, torch.zeros((2, 1, 3), dtype=torch.int64), times, [1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is false")
def test_a_gpu_learns_as_the_cpu():
    chance = torch.Generator().manual_seed(0)
    weight = torch.rand(3, 2, 4, 4, generator=chance)
    latency = torch.randint(0, 16, (2, 2, 9, 9), generator=chance).byte()
    winners, times = torch.tensor([[[0, 1, 2]], [[2, 5, 0]]]), uint8([[4], [9]])
    here = reward_modulated_stdp(weight, latency, winners, times, [1, -1])
    there = reward_modulated_stdp(weight.cuda(), latency.cuda(), winners.cuda(), times.cuda(), [1, -1])
    # A GPU may round a product and a sum once.
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-6)
