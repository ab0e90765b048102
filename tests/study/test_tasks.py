"""Each kind of output end to end, against what was planted or the same net read otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from helpers.colours import AS_IS, NAMES, Colours, colour_mean, picture, single, study
from whyclass import Reading
from whyclass.errors import ClassError, ModelError, SettingsError
from whyclass.models.readings import KINDS
from whyclass.report import words

PICTURES = [image for image, _ in single()]
BOTH = [[0], [1], [2], [0, 1], [1, 2], [0, 2], [], [0, 1, 2], [0], [1], [2], [0, 1]]
"""Colours of pictures with several."""

SEVERAL = [picture(colours, seed) for seed, colours in enumerate(BOTH)]
REDNESS = (((30.0, 0.0, -30.0),), (-1.0,))


def alike(one, other) -> None:
    """Two explanations of the same numbers."""
    assert one.target.score == pytest.approx(other.target.score, abs=1e-6)
    assert one.n_predicted == other.n_predicted
    for a, b in zip(one.concepts, other.concepts, strict=True):
        assert [crop.image.path for crop in a.including] == [crop.image.path for crop in b.including]
    assert one.prediction_test.including.score == pytest.approx(
        other.prediction_test.including.score, abs=1e-5
    )
    assert one.prediction_test.including.control.mean == pytest.approx(
        other.prediction_test.including.control.mean, abs=1e-5
    )


@pytest.mark.parametrize("target", [0, 1])
def test_one_logit_is_the_same_net_as_two_columns(target):
    weights, bias = (torch.tensor(part) for part in REDNESS)
    two = Colours(torch.cat([-weights / 2, weights / 2]).tolist(), torch.cat([-bias / 2, bias / 2]).tolist())
    names = ("not red", "red")
    found = study(Colours(*REDNESS), PICTURES, task="binary", class_names=["red"]).explain(target)
    wanted = study(two, PICTURES, class_names=names).explain(target)
    assert found.target.name == names[target]
    assert 0 < found.n_predicted < len(PICTURES)
    alike(found, wanted)
    assert any("one against the other" in told for told in found.warnings)
    assert found.model.task == "binary classification"
    assert found.completeness.mean < 1e-4


def test_two_columns_are_read_as_their_difference():
    two = Colours(((-10.0, 5.0, 40.0), (20.0, 5.0, 10.0)), (0.5, -0.5))
    one = Colours(REDNESS[0], (-1.0,))
    found = study(two, PICTURES, task="binary", class_names=("not red", "red")).explain("red")
    alike(found, study(one, PICTURES, task="binary", class_names=("not red", "red")).explain("red"))


def test_one_sigmoid_is_noticed_and_read_as_binary():
    ends = Colours(*REDNESS, end=lambda z: z.sigmoid()[:, 0])
    found = study(ends, PICTURES, class_names=["red"]).explain("red")
    alike(found, study(Colours(*REDNESS), PICTURES, task="binary", class_names=["red"]).explain("red"))
    assert any("probabilities (a sigmoid" in told for told in found.warnings)


class Maps(Colours):
    """Logits of every cell of the layer."""

    def forward(self, images):
        return self.fc(self.features(images).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def test_a_map_of_one_logit_is_the_same_net_as_a_map_of_two():
    weights, bias = torch.tensor(((30.0, 0.0, -30.0),)), torch.tensor((-3.0,))
    two = Maps(torch.cat([-weights / 2, weights / 2]).tolist(), torch.cat([-bias / 2, bias / 2]).tolist())
    found = study(Maps(weights.tolist(), bias.tolist()), PICTURES, task="binary", class_names=["red"])
    wanted = study(two, PICTURES, class_names=("background", "red"))
    assert found.classes() == wanted.classes()
    assert found.classes()[0].n_images == 6
    alike(found.explain("red"), wanted.explain("red"))


def test_one_number_without_a_task_is_refused_with_both():
    with pytest.raises(ModelError, match=r"'binary'.*'regression'"):
        study(Colours(*REDNESS), PICTURES, class_names=None)


LABELS = {"head": np.eye(3) * 60, "bias": (-3.0, -3.0, -3.0)}


@pytest.mark.parametrize("end", [None, torch.sigmoid], ids=["logits", "sigmoids"])
def test_several_labels_are_counted_each_by_itself(end, tmp_path):
    mine = study(Colours(**LABELS, end=end), SEVERAL, task="multilabel")
    for k, name in enumerate(NAMES):
        shown = [k in colours for colours in BOTH]
        assert mine.index().counting(k).tolist() == shown
        assert {one.name: one.n_images for one in mine.classes()}[name] == sum(shown)
    found = mine.explain("green")
    assert found.n_predicted == sum(1 in colours for colours in BOTH)
    assert found.prediction_test.including.predicted
    assert found.prediction_test.excluding.predicted is False  # of pictures without green nothing is green
    best = colour_mean(found.concepts[0].including[0].picture)
    assert best.argmax() == 1
    assert any("whether it is in the image (multi-label)" in told for told in found.warnings)
    assert not any("softmax" in told for told in found.warnings)
    page = found.save(tmp_path / "page.html").read_text()
    assert "multi-label classification: each class has a score of its own" in page
    assert "says of each class by itself whether it is in the image (multi-label)" in page


def test_a_contrast_of_labels_shifts_pictures_that_lack_the_one():
    found = study(Colours(**LABELS), SEVERAL, task="multilabel").contrast("red", "blue")
    blue_alone = sum(2 in colours and 0 not in colours for colours in BOTH)
    assert found.a.shifting.n == blue_alone
    assert found.a.shifting.steps[0].target < 0.5 < found.a.shifting.steps[-1].target


def test_a_softmax_lets_no_label_stand_beside_another():
    with pytest.raises(ModelError, match="ends in a softmax"):
        study(Colours(end=lambda z: z.softmax(1)), PICTURES, task="multilabel")


def test_a_number_has_a_high_and_a_low_side_at_the_quartiles():
    amounts = Colours(((60.0, -60.0, 0.0),))
    images = [picture([k // 8] * (k % 4), k) for k in range(16)]  # of no to three red squares, or green ones
    mine = study(amounts, images, task="regression", class_names=None)
    with torch.no_grad():
        values = amounts(torch.stack([AS_IS.sample(image).tensor for image in images]))[:, 0].numpy()
    low, high = np.quantile(values, (0.25, 0.75))
    assert mine.context().index.counting(0).tolist() == (values > high).tolist()
    assert mine.context().index.counting(1).tolist() == (values < low).tolist()
    found = mine.explain("high")
    assert found.n_predicted == (values > high).sum()
    assert colour_mean(found.concepts[0].including[0].picture).argmax() == 0
    assert any(f"low is below {low:.4g}, and high above {high:.4g}" in told for told in found.warnings)
    wanted = 1 / (1 + np.exp(-(values - high) / (high - low)))
    assert mine.context().index.scores_of(0) == pytest.approx(wanted, abs=1e-4)
    low_side = mine.explain("low")
    assert low_side.n_predicted == (values < low).sum()
    assert colour_mean(low_side.concepts[0].including[0].picture).argmax() == 1


def test_two_numbers_have_sides_of_their_names_and_cuts_of_the_users():
    both = Colours(((60.0, 0.0, 0.0), (0.0, 0.0, 60.0)))
    mine = study(both, PICTURES, task=Reading("regression", cuts=(1.0, 2.0)), class_names=["ripe", "cold"])
    assert [one.name for one in mine.classes()] == ["ripe high", "ripe low", "cold high", "cold low"]
    assert mine.context().index.counting(2).tolist() == [k % 3 == 2 for k in range(18)]
    assert colour_mean(mine.explain("cold high").concepts[0].including[0].picture).argmax() == 2


def test_names_of_another_number_than_the_models_are_refused():
    with pytest.raises(ClassError, match="there are 3 class names"):
        study(Colours(((60.0, 0.0, 0.0), (0.0, 0.0, 60.0))), PICTURES, task="regression")


def test_the_same_number_everywhere_has_no_side():
    with pytest.raises(ModelError, match="the same number for every image"):
        study(Colours(((0.0, 0.0, 0.0),)), PICTURES, task="regression", class_names=None).classes()


def test_an_embedding_is_classified_by_a_matrix():
    matrix = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, 0.1], [0.1, 0.0, 1.0]])
    net = Colours(bias=(1.0, 1.0, 1.0))
    plain = Reading("embedding", matrix=matrix, scale=2.0, normalise=False)
    linear = Colours((2 * matrix @ (60 * torch.eye(3))).tolist(), (2 * matrix.sum(1)).tolist())
    alike(study(net, PICTURES, task=plain).explain("blue"), study(linear, PICTURES).explain("blue"))
    mine = study(net, PICTURES, task=Reading("embedding", matrix=matrix.numpy(), scale=10.0))
    images = torch.stack([AS_IS.sample(image).tensor for image in PICTURES])
    with torch.no_grad():
        cosines = nn.functional.cosine_similarity(net(images)[:, None], matrix[None], dim=2)
    wanted = (10 * cosines).softmax(1).numpy()
    context = mine.context()
    assert context.index.scores(np.arange(18)) == pytest.approx(wanted, abs=1e-4)
    found = mine.explain("blue")
    assert found.completeness.mean < 1e-3
    assert found.model.task == "zero-shot classification"
    assert colour_mean(found.concepts[0].including[0].picture).argmax() == 2


class Finds(Colours):
    """Gives boxes and their scores, as detectors do: a list of one mapping for each image."""

    def forward(self, images):
        scores = super().forward(images)
        return [{"boxes": torch.zeros(3, 4), "scores": one, "labels": torch.arange(3)} for one in scores]


def best_blue(output):
    return torch.stack([one["scores"][2] for one in output])


def test_a_detector_is_refused_in_one_line_and_a_score_of_its_is_a_target():
    with pytest.raises(ModelError, match=r"^Finds detects objects, and detection cannot be explained yet"):
        study(Finds(), PICTURES)
    found = study(Finds(), PICTURES, task=best_blue, class_names=None).explain("high")
    same = study(Colours(((0.0, 0.0, 60.0),)), PICTURES, task="regression", class_names=None).explain("high")
    alike(found, same)
    assert any("function of the user's" in told for told in found.warnings)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "ssdlite320_mobilenet_v3_large"])
def test_torchvisions_detectors_are_refused_by_name_and_as_modules(name):
    from whyclass import load

    with pytest.raises(ModelError, match=f"^{name} detects objects"):
        load(f"torchvision:{name}", pretrained=False)
    if name.startswith("ssd"):
        net = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None)
        with pytest.raises(ModelError, match=r"^SSD detects objects"):
            study(net, PICTURES)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("softmin", "choose one of softmax, binary"),
        (7, "task came as int"),
        (Colours, r"failed on the model's output|gave"),
        (lambda output: output, r"gave \(\d, 3\)"),
        (lambda output: output[:, 7], "IndexError"),
        ("binary", "needs one logit for each image, or two"),
    ],
    ids=["unknown", "number", "class", "shape", "raises", "columns"],
)
def test_a_wrong_task_is_refused(task, reason):
    with pytest.raises((ModelError, SettingsError), match=reason):
        study(Colours(), PICTURES, task=task)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kind": "embedding"}, "needs finite numbers"),
        ({"kind": "embedding", "matrix": [[1.0, float("nan")], [1.0, 2.0]]}, "needs finite numbers"),
        ({"kind": "embedding", "matrix": np.eye(3), "scale": 0}, "scale is 0"),
        ({"kind": "callable"}, "needs one"),
        ({"kind": "regression", "cuts": (2.0, 1.0)}, "the lower one first"),
    ],
)
def test_a_wrong_reading_is_refused(given, reason):
    with pytest.raises(SettingsError, match=reason):
        Reading(**given)


def test_results_of_one_task_are_not_taken_for_anothers(tmp_path):
    def of(task, **given):
        return study(Colours(**LABELS), SEVERAL, tmp_path, task=task, **given).explain(0)

    scores = {
        kind: of(kind, **given).target.score
        for kind, given in {"softmax": {}, "multilabel": {}, "regression": {"class_names": None}}.items()
    }
    for column in (0, 1):
        scores[f"column {column}"] = of(lambda z, k=column: z[:, k], class_names=None).target.score
    assert len(set(scores.values())) >= 4, scores
    assert scores["column 0"] == pytest.approx(scores["regression"], abs=1e-9)  # the same number, kept apart


def test_every_kind_but_softmax_says_what_a_score_is():
    for kind, row in KINDS.items():
        assert bool(row.told) == (kind != "softmax")
        assert row.name in words.TASKS


def test_a_class_that_no_picture_has_is_refused_in_the_tasks_words():
    with pytest.raises(ClassError, match=r"told of none of the pool's 6 images \(score above 0.5\)"):
        study(Colours(**LABELS), [picture([0], k) for k in range(6)], task="multilabel").explain("blue")
