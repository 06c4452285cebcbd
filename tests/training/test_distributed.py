"""What several processes share, as far as one process can tell."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from facekd.errors import TrainingError
from facekd.training import distributed
from facekd.training.distributed import global_batch_size, labelled_weight, sync_batch_norm


def test_a_batch_is_what_processes_share_evenly() -> None:
    four = SimpleNamespace(world_size=4)
    assert global_batch_size(32, 1000, four) == 32
    assert global_batch_size(70, 1000, four) == 68  # the recipe `paper` on four GPUs
    assert global_batch_size(70, 30, four) == 28
    with pytest.raises(TrainingError, match="4 processes cannot share a batch of 3"):
        global_batch_size(70, 3, four)


def test_a_process_counts_by_its_share_of_the_labels() -> None:
    """Three of its faces are labelled where the processes have two in the mean: it counts one and a half times."""
    processes = SimpleNamespace(all_reduce=lambda value, reduce_op: torch.tensor(2.0))
    weight = labelled_weight(torch.tensor([True, True, False, True]), processes)
    torch.testing.assert_close(weight, torch.tensor(1.5))


def test_shared_batch_normalisation_is_that_of_the_global_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of which each has half of a batch: outputs and running statistics are those of the whole batch."""
    torch.manual_seed(0)
    whole = torch.randn(8, 3, 4, 4) * 2 + 1
    expected_net = nn.BatchNorm2d(3).train()
    expected = expected_net(whole)

    def all_reduce(x: Tensor) -> None:
        """Add what the other half would give; both moments, in the order they are asked for."""
        x += others.pop(0)

    other = whole[4:]
    mean = whole.mean((0, 2, 3))
    others = [other.mean((0, 2, 3)), (other - mean[:, None, None]).square().mean((0, 2, 3))]
    monkeypatch.setattr(distributed.dist, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    fabric = SimpleNamespace(world_size=2, device=torch.device("cpu"))
    net = sync_batch_norm(nn.Sequential(nn.BatchNorm2d(3)), fabric).train()
    with torch.no_grad():
        torch.testing.assert_close(net(whole[:4]), expected[:4])
    assert not others
    torch.testing.assert_close(net[0].running_mean, expected_net.running_mean)
    torch.testing.assert_close(net[0].running_var, expected_net.running_var)
    assert int(net[0].num_batches_tracked) == 1
