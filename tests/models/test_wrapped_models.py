"""Models as people have them: of transformers, with adapters, compiled, and checkpoints of trainers."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from helpers.colours import AS_IS, LAYER, NAMES, Colours, colour_mean, single, study
from helpers.hub_models import hub
from helpers.planted_world import quick
from whyclass import Study, load
from whyclass.errors import ModelError
from whyclass.models.transforms import Own

PICTURES = single(12)


@pytest.fixture(scope="module")
def plain():
    return study(Colours(), PICTURES).explain("green")


def same(found, plain) -> None:
    assert found.target.score == pytest.approx(plain.target.score, abs=1e-5)
    assert found.n_predicted == plain.n_predicted == 4
    assert found.prediction_test.including.score == pytest.approx(
        plain.prediction_test.including.score, abs=1e-4
    )
    assert colour_mean(found.concepts[0].including[0].picture).argmax() == 1


def test_a_compiled_model_is_run_as_it_was_written(plain):
    compiled = torch.compile(Colours(), backend=_never)
    found = Study(
        compiled,
        "_orig_mod.features",
        PICTURES,
        None,
        quick(concepts=2),
        class_names=NAMES,
        preprocessing=AS_IS,
        progress=False,
    )
    same(found.explain("green"), plain)


def _never(*_):
    raise AssertionError("it was compiled")


# ---------------------------------------------------------------- checkpoints of trainers

FACTORY = """
import sys
sys.path.insert(0, {tests!r})
from helpers.colours import Colours

def net():
    return Colours([[0.0] * 3] * 3)
"""


def lightning(state):
    prefixed = {f"model.{name}": value for name, value in state.items()}
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.4",
        "state_dict": prefixed | {"loss.weight": torch.ones(3)},
    }


def averaged(state):
    raw = {name: value + 1 for name, value in state.items()}
    return {"model": raw, "model_ema": state, "optimizer": {"lr": 0.1}}


def swa(state):
    return {"n_averaged": torch.tensor(5)} | {f"module.{name}": value for name, value in state.items()}


def ddp(state):
    return {f"module.{name}": value for name, value in state.items()}


def compiled_ddp(state):
    return {"model_state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}}


@pytest.mark.parametrize("wrap", [lightning, averaged, swa, ddp, compiled_ddp])
def test_a_trainers_checkpoint_gives_the_models_own_answer(tmp_path, plain, wrap):
    (tmp_path / "own.py").write_text(FACTORY.format(tests=str(Path(__file__).parents[1])))
    torch.save(wrap(Colours().state_dict()), tmp_path / "run.ckpt")
    loaded = load(f"{tmp_path / 'own.py'}:net", tmp_path / "run.ckpt")
    found = study(loaded, PICTURES)
    same(found.explain("green"), plain)
    assert any("model_ema was taken" in note for note in loaded.notes) == (wrap is averaged)
    assert any("left out" in note for note in loaded.notes) == (wrap is lightning)


# ---------------------------------------------------------------- adapters


def test_a_model_with_adapters_is_the_model_they_are_merged_into(plain):
    peft = pytest.importorskip("peft")
    net = Colours()
    config = peft.LoraConfig(r=2, target_modules=["fc", "features.0"], init_lora_weights=False)
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(net, config)
    with torch.no_grad():
        for name, one in wrapped.named_parameters():
            if "lora_" in name:
                one.mul_(0.02)
    merged = copy.deepcopy(wrapped).merge_and_unload()
    whole = study(merged, PICTURES).explain("green")
    found = Study(
        wrapped,
        f"base_model.model.{LAYER}",
        PICTURES,
        None,
        quick(concepts=2),
        class_names=NAMES,
        preprocessing=AS_IS,
        progress=False,
    ).explain("green")
    same(found, whole)
    assert found.completeness.mean < 1e-4
    assert abs(whole.target.score - plain.target.score) > 1e-6  # the adapters do something


# ---------------------------------------------------------------- transformers


@pytest.mark.parametrize(("kind", "layer"), [("vit", "vit.layers.0"), ("resnet", "resnet.encoder.stages.0")])
def test_a_classifier_of_transformers_is_explained_by_name(tmp_path, kind, layer):
    transformers = pytest.importorskip("transformers")
    place = hub(tmp_path / "model", kind)
    loaded = load(f"hf:{place}")
    names = [name for name, _ in loaded.model.named_modules()]
    layer = layer if layer in names else next(n for n in names if n.endswith("layer.0"))
    assert loaded.class_names == NAMES
    found = Study(loaded, layer, PICTURES, tmp_path / "store", quick(concepts=2), progress=False)
    model = transformers.AutoModelForImageClassification.from_pretrained(place).eval()
    prepare = transformers.AutoImageProcessor.from_pretrained(place)
    with torch.no_grad():
        given = prepare(images=[image for image, _ in PICTURES], return_tensors="pt")
        wanted = model(**given).logits.softmax(1).numpy()
    assert found.context().index.scores(np.arange(12)) == pytest.approx(wanted, abs=1e-5)
    target = int(wanted.argmax(1)[0])
    explained = found.explain(target)
    assert explained.n_predicted == (wanted.argmax(1) == target).sum()
    assert explained.completeness.mean < 0.01
    assert explained.target.score == pytest.approx(
        wanted[wanted.argmax(1) == target, target][:6].mean(), abs=0.2
    )


def test_what_a_configuration_says_of_task_names_and_processor_is_taken(tmp_path):
    place = hub(tmp_path / "several", "resnet", problem_type="multi_label_classification")
    (place / "preprocessor_config.json").unlink()
    loaded = load(f"hf:{place}")
    assert loaded.reading.kind == "multilabel"
    assert not isinstance(loaded.preprocessing, Own)
    assert any("without an image processor" in note for note in loaded.notes)
    unnamed = hub(
        tmp_path / "unnamed",
        "resnet",
        id2label={0: "LABEL_0", 1: "LABEL_1"},
        label2id={"LABEL_0": 0, "LABEL_1": 1},
    )
    assert load(f"hf:{unnamed}").class_names == ()


def test_weights_of_a_file_go_into_a_configuration(tmp_path):
    place = hub(tmp_path / "model", "resnet")
    state = {name: value * 0.5 for name, value in load(f"hf:{place}").model.state_dict().items()}
    torch.save(state, tmp_path / "own.pt")
    loaded = load(f"hf:{place}", tmp_path / "own.pt").model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_detectors_and_models_that_are_not_there_are_refused(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    with pytest.raises(ModelError, match=r"hf:.*nowhere could not be found"):
        load(f"hf:{tmp_path / 'nowhere'}")
    config = transformers.YolosConfig(architectures=["YolosForObjectDetection"])
    config.save_pretrained(tmp_path / "boxes")
    with pytest.raises(ModelError, match="detects objects, and detection cannot be explained yet"):
        load(f"hf:{tmp_path / 'boxes'}")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'whyclass\[transformers\]'"):
        load(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    "names",
    [
        {0: "red", 1: "green", 2: "blue"},
        {"0": "red", "1": "green", "2": "blue"},
        {"red": 0, "blue": 2, "green": 1},
    ],
)
def test_class_names_come_as_a_mapping(names):
    assert study(Colours(), PICTURES, class_names=names).loaded.class_names == NAMES


class Detector(nn.Module):
    """A part of torchvision's detectors beside a classifier, and what comes out."""

    def __init__(self, boxes: bool) -> None:
        super().__init__()
        self.net, self.boxes = Colours(), boxes
        self.anchors = torchvision.models.detection.anchor_utils.AnchorGenerator()

    def forward(self, images):
        scores = self.net(images)
        return {"logits": scores[:, None], "pred_boxes": scores[:, None]} if self.boxes else scores


def test_a_detector_is_refused_and_its_scores_for_each_class_are_explained():
    given = {"class_names": NAMES, "preprocessing": AS_IS, "progress": False, "settings": quick(concepts=2)}
    with pytest.raises(ModelError, match="detects objects, and detection cannot be explained yet"):
        Study(Detector(True), "net.features", PICTURES, **given)
    found = Study(Detector(False), "net.features", PICTURES, **given)
    assert [one.name for one in found.classes()] == list(NAMES)
