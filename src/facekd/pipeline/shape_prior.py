"""Fits a network's shape prior (`networks.shape_prior`) once the network is trained.

The errors' statistics come from validation faces. They are few, and their errors depend on the shape, so that only a
share of the error covariance counts, and bias and covariance are shrunk. Cross-validation chooses the share, and no
prior is kept where it brings no clear gain.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from facekd.networks.shape_prior import MAX_LOG_RATIO, ShapePrior

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the error covariance, to choose from
_BIAS = 0.8  # of the mean error that counts
_FOLDS = 5
MIN_FACES = 50  # validation faces; fewer tell nothing
_MIN_GAIN = 2.0  # standard errors by which the mean error has to fall


def fit_shape_prior(
    shapes: Tensor,
    landmarks: Tensor,
    log_sigma: Tensor | None,
    truth: Tensor,
    mirror: Tensor | None,
    error: Callable[[Tensor, Tensor], Tensor],
) -> ShapePrior | None:
    """Return the shape prior that is best on faces the network was not trained on.

    Args:
        shapes: (m, N, 2) landmarks of training views, normalised.
        landmarks: (n, N, 2) what the network predicts on the validation faces, normalised.
        log_sigma: (n, N) its log-sigma there; None if it has none.
        truth: (n, N, 2) the labels of the validation faces, normalised; NaN where a point is missing.
        mirror: (N,) index of each landmark's mirror partner, whose errors are alike; None: there are none.
        error: returns the error (n,) of landmarks (n, N, 2) against labels (n, N, 2); NaN where it is not known: such
            faces are left out.

    Returns:
        The prior, or None: no share of the error covariance lowers the error clearly, or there are too few faces.
    """
    known = ~error(landmarks, truth).isnan()
    landmarks, truth = landmarks[known], truth[known]
    log_sigma = None if log_sigma is None else log_sigma[known]
    if len(landmarks) < MIN_FACES or len(shapes) <= 2 * landmarks.shape[1]:
        return None
    sigmas = torch.zeros(landmarks.shape[:2]) if log_sigma is None else log_sigma.float()

    def fitted(rows: Tensor, share: float) -> ShapePrior:
        typical = sigmas[rows].median(dim=0).values
        ratio = (sigmas[rows] - typical).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().double()
        noise, bias = error_statistics(landmarks[rows], truth[rows], ratio, mirror)
        return posterior(shapes, share * noise, bias, typical)

    fold = torch.arange(len(landmarks)) % _FOLDS
    before, best, kept = error(landmarks, truth), 0.0, None
    for share in _SHARES:
        after = torch.empty_like(before)
        for number in range(_FOLDS):
            out = fold == number
            after[out] = error(fitted(~out, share)(landmarks[out], sigmas[out]), truth[out])
        gain = before - after
        if gain.mean() > max(best, _MIN_GAIN * float(gain.std()) / len(gain) ** 0.5):
            best, kept = float(gain.mean()), share
    return None if kept is None else fitted(torch.ones_like(fold, dtype=torch.bool), kept)


def error_statistics(landmarks: Tensor, truth: Tensor, ratio: Tensor, mirror: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return covariance and mean of a network's errors over faces and their mirror images, both shrunk.

    Args:
        landmarks: (n, N, 2), as predicted.
        truth: (n, N, 2), the labels; NaN where a point is missing: each entry is over the faces that have both points.
        ratio: (n, N) sigma over what is typical of the landmark; errors are divided by it.
        mirror: (N,) index of each landmark's mirror partner; None: faces count only as they are.

    Returns:
        The covariance (2N, 2N), whose off-diagonal entries are halved, and the bias (2N,), 0.8 of the mean error.
    """
    errors = (landmarks - truth).double()
    if mirror is not None:
        errors = torch.cat([errors, errors[:, mirror] * errors.new_tensor([-1, 1])])
        ratio = torch.cat([ratio, ratio[:, mirror]])
    bias = _BIAS * errors.nanmean(0).nan_to_num()
    typical = ((errors - bias) / ratio[..., None]).flatten(1)
    there = (~typical.isnan()).double()
    typical = typical.nan_to_num()
    covariance = typical.T @ typical / (there.T @ there).clamp_min(1)
    return (covariance + covariance.diag().diag()) / 2, bias.flatten()


def posterior(shapes: Tensor, noise: Tensor, bias: Tensor, typical: Tensor) -> ShapePrior:
    """Return the posterior-mean layer of given statistics.

    Args:
        shapes: (m, N, 2) landmarks of training views, m above 2N.
        noise: (2N, 2N) covariance of the errors.
        bias: (2N,) mean of the errors.
        typical: (N,) log-sigma that is typical of each landmark.

    Returns:
        The shape prior.
    """
    flat = shapes.double().flatten(1)
    mean, covariance = flat.mean(0), flat.T.cov()
    values, vectors = torch.linalg.eigh(covariance + noise)
    least = 1e-9 * values.mean()  # keeps the root finite where nothing ever moves
    whiten = (vectors / (values.clamp_min(0) + least).sqrt()) @ vectors.T
    tensors = (mean, bias, noise, typical, whiten, whiten @ covariance)
    return ShapePrior(*(value.float().contiguous() for value in tensors))
