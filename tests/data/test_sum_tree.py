"""The sum tree against plain cumulated sums."""

from __future__ import annotations

import pytest
import torch

from slm_lightning.data.sum_tree import WIDEST, SumTree

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 5, WIDEST, WIDEST + 1, 5000, WIDEST**2 + 1])
def test_a_draw_finds_the_leaf_whose_stretch_holds_it(size, rng):
    tree, priority = SumTree(size, CPU), torch.rand(size, generator=rng, dtype=torch.float64)
    priority[torch.rand(size, generator=rng) < 0.3] = 0
    priority[0] = 0.5
    tree.set(torch.arange(size), priority)
    assert tree.total.item() == pytest.approx(priority.sum().item())
    mass = torch.rand(2000, generator=rng, dtype=torch.float64) * priority.sum()
    assert torch.equal(tree.find(mass), torch.searchsorted(priority.cumsum(0), mass, right=True))


def test_later_priorities_replace_earlier_ones(rng):
    tree, expected = SumTree(3000, CPU), torch.zeros(3000, dtype=torch.float64)
    for _ in range(20):
        index = torch.randperm(3000, generator=rng)[:64]
        expected[index] = torch.rand(64, generator=rng, dtype=torch.float64)
        tree.set(index, expected[index])
    assert torch.equal(tree.priority[:3000], expected)
    assert tree.total.item() == pytest.approx(expected.sum().item())


def test_the_whole_mass_and_rounding_stay_inside():
    tree = SumTree(100, CPU)
    tree.set(torch.tensor([3, 7]), torch.tensor([0.1, 0.2]))
    assert tree.find(tree.total[None]).item() == 7
    assert tree.find(torch.zeros(1, dtype=torch.float64)).item() == 3


def test_leaves_without_priority_are_never_drawn(rng):
    tree, priority = SumTree(2000, CPU), torch.zeros(2000)
    priority[::7] = torch.rand(len(priority[::7]), generator=rng)
    tree.set(torch.arange(2000), priority)
    mass = torch.rand(20_000, generator=rng, dtype=torch.float64) * tree.total
    assert (tree.find(mass) % 7 == 0).all()


def test_a_tree_depends_on_its_priorities_alone(rng):
    """Sums of what came one by one, in stretches or at once have the same bits: a restored memory draws
    as the one that was saved."""
    size = WIDEST**2 + 1
    grown, made = SumTree(size, CPU), SumTree(size, CPU)
    for _ in range(60):
        start = int(torch.randint(size - 700, (1,), generator=rng))
        priority = torch.rand(700, generator=rng, dtype=torch.float64)
        grown.fill(start, start + int(priority[0] * 700) + 1, priority[1])
        grown.set(torch.randint(size, (700,), generator=rng), priority)
    made.set(torch.arange(size), grown.priority[:size])
    assert grown.total > 0
    for one, other in zip(grown.levels, made.levels):
        assert torch.equal(one, other)
