"""The loss that teaches a network which of its landmarks can be seen."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from facekd.losses.base import mean_of_labelled


def visibility_cross_entropy(visibility: Tensor, visible: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross-entropy of predicted visibility.

    Args:
        visibility: (B, N) logits of the probability that a landmark is visible.
        visible: (B, N) bool, the labels.
        target: (B, N, 2) landmarks; of one that is missing (NaN) nobody knows whether it is visible.

    Returns:
        A scalar: the mean over all landmarks that are not missing.
    """
    entropy = F.binary_cross_entropy_with_logits(visibility.float(), visible.float(), reduction="none")
    return mean_of_labelled(entropy, target)
