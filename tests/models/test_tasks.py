"""What a model's output says of its classes, against loops over images, classes and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from whyclass.models.tasks import (
    Task,
    class_logits,
    class_map,
    logit,
    logit_within,
    scores_of,
    summary,
    task_of,
)

MAP = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1)) * 3
LOGITS = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)) * 3
SEGMENTS = Task(4, dense=True)


def pixels(output: torch.Tensor) -> np.ndarray:
    """Softmax scores (n, K, S*T), float64, pixel by pixel."""
    powers = np.exp(output.double().numpy())
    return (powers / powers.sum(1, keepdims=True)).reshape(len(output), output.shape[1], -1)


@pytest.mark.parametrize(
    ("output", "names", "wanted"),
    [
        (LOGITS, ("background", "a", "b", "c"), Task(4)),
        (MAP, (), Task(4, True)),
        (MAP, ("a", "b", "c", "d"), Task(4, True)),
        (MAP, ("a", "Background ", "b", "c"), Task(4, True, 1)),
        (MAP, ("__background__", "a", "b", "c"), Task(4, True, 0)),
    ],
)
def test_the_task_is_told_by_the_output_and_its_background_by_name(output, names, wanted):
    assert task_of(output, names) == wanted


def test_scores_of_a_map_are_the_largest_of_each_class_and_the_mean():
    found, each = scores_of(MAP), pixels(MAP)
    assert found.dtype == np.float64
    assert np.allclose(found[:, :4], each.max(2), atol=1e-6)
    assert np.allclose(found[:, 4:], each.mean(2), atol=1e-6)
    assert np.allclose(SEGMENTS.from_logits(summary(MAP).numpy()), found)


def test_scores_of_logits_are_their_softmax():
    found = scores_of(LOGITS)
    assert np.allclose(found.sum(1), 1)
    assert np.allclose(Task(4).from_logits(summary(LOGITS).numpy()), found, atol=1e-12)
    assert np.allclose(found, pixels(LOGITS[..., None, None])[..., 0])


def test_the_logit_of_a_map_is_its_mean():
    assert torch.allclose(class_logits(MAP), torch.stack([m.flatten(1).mean(1) for m in MAP]))
    assert torch.equal(logit(2)(MAP), class_logits(MAP)[:, 2])
    inside = class_map(MAP, 1)[0]
    wanted = [float(m[1][inside].sum()) / 30 for m in MAP]
    assert np.allclose(logit_within(1, inside)(MAP), wanted, atol=1e-5)


def test_a_classifier_says_its_argmax():
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.35, 0.25]])
    task = Task(3)
    assert task.winner(scores).tolist() == [1, 0]
    assert task.order(scores[0]).tolist() == [1, 2, 0]
    assert task.counts(scores, 1).tolist() == [True, False]
    assert task.share(scores[0], 1) is None


@pytest.mark.parametrize(
    ("largest", "mean", "background", "wanted"),
    [
        ([0.9, 0.8, 0.1], [0.7, 0.2, 0.1], None, 0),
        ([0.9, 0.8, 0.1], [0.7, 0.2, 0.1], 0, 1),  # background covers most, and something else is there
        ([0.9, 0.4, 0.1], [0.7, 0.2, 0.1], 0, 0),  # nothing else is there
        ([0.9, 0.6, 0.7], [0.7, 0.2, 0.1], 0, 1),  # of what is there, what covers most
        ([0.4, 0.3, 0.45], [0.4, 0.2, 0.4], None, 0),  # nothing is anywhere; of equal ones the first
        ([0.2, 0.9, 0.9], [0.6, 0.1, 0.3], 2, 1),
    ],
)
def test_an_image_is_called_what_covers_most_of_what_is_there(largest, mean, background, wanted):
    task = Task(3, True, background)
    scores = np.array([largest + mean])
    assert task.winner(scores).tolist() == [wanted]
    assert task.order(scores[0])[0] == wanted
    assert task.counts(scores, 1).tolist() == [largest[1] > 0.5]
    assert task.share(scores[0], 2) == mean[2]
    assert np.array_equal(scores, [largest + mean])  # left as they were
