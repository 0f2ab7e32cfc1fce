"""How much the code of an image and the code of its text tell about each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray


@dataclass(frozen=True)
class CodeInformation:
    """Mutual information of the codes a of images and b of texts over N true pairs, from their counts n_ab.

    Attributes:
        mutual_information: I = Σ n_ab/N ln(N n_ab / (n_a n_b)) in nats, at most ln K. Few pairs and many codes make it
            large by chance.
        normalised: I divided by the mean of both entropies, from 0 to 1; 0 if all have the same code (Vinh et al.,
            JMLR 2010, NMI_sum).
        adjusted: (I − E) / (mean of both entropies − E) with the expectation E of I over all ways to pair the same
            codes: 0 by chance and 1 if each code of one modality has its own in the other (Vinh et al., AMI_sum).
    """

    mutual_information: float
    normalised: float
    adjusted: float

    @classmethod
    def of(cls, images: IntArray, texts: IntArray) -> CodeInformation:
        """Measure N pairs.

        Args:
            images: (N,) code of the image of each pair.
            texts: (N,) code of the text.
        """
        pairs, joint = np.unique(np.stack([images, texts]), axis=1, return_counts=True)
        (_, of_image, a), (_, of_text, b) = (
            np.unique(codes, return_inverse=True, return_counts=True) for codes in (images, texts)
        )
        n = len(images)
        row = dict(zip(images.tolist(), of_image.tolist(), strict=True))
        column = dict(zip(texts.tolist(), of_text.tolist(), strict=True))
        marginal = np.array([a[row[i]] * b[column[t]] for i, t in pairs.T.tolist()], np.float64)
        information = max(0.0, float((joint / n * np.log(n * joint / marginal)).sum()))
        entropy = (_entropy(a / n) + _entropy(b / n)) / 2
        chance = expected_information(a, b)
        return cls(
            information,
            information / entropy if entropy > 0 else 0.0,
            (information - chance) / (entropy - chance) if entropy - chance > 1e-12 else 0.0,
        )


def expected_information(a: IntArray, b: IntArray) -> float:
    """Expectation of the mutual information of two labellings of the same N items, paired at random.

    Σ_ij Σ_m m/N ln(N m / (a_i b_j)) P(m), with the hypergeometric probability P(m) that m items have both labels
    (Vinh et al., JMLR 2010, eq. 24a). Equal counts are computed once.

    Args:
        a: number of items of each label of the one, which sum up to N.
        b: of the other.
    """
    n = int(a.sum())
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    total = 0.0
    for i, of_i in zip(*np.unique(a, return_counts=True)):
        for j, of_j in zip(*np.unique(b, return_counts=True)):
            m = np.arange(max(1, i + j - n), min(i, j) + 1)
            log_probability = (
                log_factorial[[i, j, n - i, n - j]].sum()
                - log_factorial[n]
                - log_factorial[m]
                - log_factorial[i - m]
                - log_factorial[j - m]
                - log_factorial[n - i - j + m]
            )
            each = (m / n * np.log(n * m / (i * j)) * np.exp(log_probability)).sum()
            total += float(of_i * of_j * each)
    return total


def _entropy(shares: NDArray[np.float64]) -> float:
    return -float((shares * np.log(shares)).sum())
