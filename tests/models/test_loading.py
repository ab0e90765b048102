"""Models by name or file, weights from files that nobody vouches for."""

from __future__ import annotations

import json
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from whyclass.errors import ClassError, ModelError, SettingsError, WeightsError
from whyclass.models import described as describing
from whyclass.models import sources
from whyclass.models.checkpoints import read_weights
from whyclass.models.class_names import read_class_names
from whyclass.models.described import described
from whyclass.models.loading import load
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.split import run, split
from whyclass.models.weights import fingerprint

NAME = "torchvision:squeezenet1_1"  # the smallest with 1000 classes; 5 MB
SMALL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))

class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)

def build(num_classes=4):
    return Net(num_classes)

def plain():
    return Net()

def raises():
    raise OSError("no such dish")

def number():
    return 7

value = 3
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


@pytest.fixture
def state(file) -> dict[str, torch.Tensor]:
    """Weights of the small net, other than any fresh one's."""
    return {
        key: torch.full_like(value, 0.5) for key, value in load(f"{file}:build").model.state_dict().items()
    }


def squeezenet(classes: int = 1000) -> nn.Module:
    return torchvision.models.squeezenet1_1(weights=None, num_classes=classes)


class Mixed(nn.Module):
    """Its first convolution takes what it makes of an image, not the image's channels."""

    def __init__(self, taken: int, change) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv2d(taken, 4, 3), change

    def forward(self, x):
        return self.conv(self.change(x)).mean((2, 3))


ANY = Preprocessing(None, (8, 8))


@pytest.mark.parametrize(
    ("model", "channels"),
    [
        (Mixed(3, lambda x: x), 3),
        (Mixed(1, lambda x: x), 1),
        (Mixed(5, lambda x: x), 5),
        (Mixed(1, lambda x: x.mean(1, keepdim=True)), 3),  # makes it grey itself
        (Mixed(5, lambda x: torch.cat([x, x[:, :2]], 1)), 3),  # such as coordinates beside the colours
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), 1),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), 3),
    ],
)
def test_a_model_gets_as_many_channels_as_it_takes(model, channels):
    found = describing.suited(model, ANY)
    assert found == (ANY if channels == 3 else replace(ANY, mean=(0.5,) * channels, std=(0.5,) * channels))
    describing.check_channels(describing.Loaded("net", model, found))


def test_a_model_in_training_is_asked_for_its_channels_without_learning():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).train()
    before = fingerprint(model)
    assert describing.suited(model, ANY).channels == 1
    assert fingerprint(model) == before
    assert model.training


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({}, (0.5,), (0.5,)),
        ({"mean": (0.1,)}, (0.1,), (0.5,)),
        ({"mean": (0.1,), "std": (0.2,)}, (0.1,), (0.2,)),
    ],
)
def test_one_number_of_mean_stands_for_every_channel(tmp_path, given, mean, std):
    for channels in (1, 2, 3):
        path = tmp_path / f"net{channels}.py"
        path.write_text(SMALL.replace("Conv2d(3,", f"Conv2d({channels},"))
        found = load(f"{path}:build", crop=8, **given).preprocessing
        usual = channels == 3
        assert found.mean == (mean * channels if "mean" in given or not usual else Preprocessing().mean)
        assert found.std == (std * channels if "std" in given or not usual else Preprocessing().std)


# ---------------------------------------------------------------- torchvision


@pytest.mark.parametrize("classes", [1000, 7])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_torchvision_with_a_weights_file_has_as_many_classes_as_the_weights(tmp_path, classes, suffix):
    path, state = tmp_path / f"w{suffix}", squeezenet(classes).state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load(NAME, path)
    assert not loaded.model.training
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())
    assert len(loaded.class_names) == (1000 if classes == 1000 else 0)
    assert loaded.preprocessing == Preprocessing()


def test_an_old_checkpoint_without_batch_counters_fits(tmp_path):
    state = torchvision.models.resnet18(weights=None, num_classes=3).state_dict()
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "w.pt")
    assert load("torchvision:resnet18", tmp_path / "w.pt").model.fc.out_features == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torchvision:resnet5", "no classifier or segmentation net 'resnet5'; did you mean resnet50"),
        ("torchvision:", "did you mean resnet50"),
        ("torchvision:fcn_resnet5", "did you mean fcn_resnet50"),
        ("torchvision:raft_small", "no classifier or segmentation net"),
        ("torchvision:resnet18:IMAGENET1K_V7", "no weights 'IMAGENET1K_V7'; it has IMAGENET1K_V1"),
        ("resnet50", "give torchvision:NAME"),
        ("keras:resnet50", "give torchvision:NAME"),
        ("model.pth", "give torchvision:NAME"),
        ("small.py", "path/to/file.py:factory"),
        ("", "is not understood"),
    ],
)
def test_an_unknown_model_is_refused_with_what_was_meant(name, reason):
    with pytest.raises(ModelError, match=reason):
        load(name, pretrained=False)


def test_every_torchvision_weights_entry_gives_a_preprocessing():
    for name in torchvision.models.list_models(module=torchvision.models):
        for entry in torchvision.models.get_model_weights(name):
            given, found = entry.transforms(), sources._from_metadata(entry)
            assert (found.resize, found.crop[0], list(found.mean)) == (
                given.resize_size[0],
                given.crop_size[0],
                given.mean,
            )


def test_every_segmentation_entry_gives_the_whole_resized_image():
    for name in torchvision.models.list_models(module=torchvision.models.segmentation):
        for entry in torchvision.models.get_model_weights(name):
            given, found = entry.transforms(), sources._from_metadata(entry)
            assert (found.resize, list(found.mean)) == (given.resize_size[0], given.mean)
            assert found.crop == (520, 520)


@pytest.mark.parametrize(("classes", "auxiliary"), [(21, True), (4, True), (4, False)])
def test_a_segmentation_net_has_the_heads_and_classes_of_its_weights(tmp_path, classes, auxiliary):
    net = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=classes, aux_loss=auxiliary
    )
    torch.save({"model": net.state_dict()}, tmp_path / "w.pt")
    name = "torchvision:deeplabv3_mobilenet_v3_large"
    found = load(f"{name}:COCO_WITH_VOC_LABELS_V1", tmp_path / "w.pt")
    assert ("aux_classifier.4.weight" in found.model.state_dict()) is auxiliary
    assert torch.equal(found.model.classifier[4].weight, net.classifier[4].weight)
    assert found.preprocessing.crop == (520, 520)
    assert len(found.class_names) == (21 if classes == 21 else 0)
    assert load(name, tmp_path / "w.pt").preprocessing == Preprocessing()


def test_a_segmentation_net_without_weights_fetches_none(monkeypatch):
    def refuse(url, *_, **__):
        raise AssertionError(f"fetched {url}")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    found = load("torchvision:lraspp_mobilenet_v3_large", pretrained=False)
    assert run(found.model, torch.zeros(1, 3, 32, 32)).shape == (1, 21, 32, 32)
    assert found.class_names[:2] == ("__background__", "aeroplane")


def test_the_preprocessing_can_be_changed_in_parts():
    found = load(NAME, pretrained=False, resize=40, crop=32, mean=(0.5, 0.5, 0.5)).preprocessing
    assert found == Preprocessing(40, (32, 32), (0.5, 0.5, 0.5), Preprocessing().std)
    with pytest.raises(SettingsError, match="crop"):
        load(NAME, pretrained=False, crop=-3)
    with pytest.raises(SettingsError, match="crop"):
        load(NAME, pretrained=False, crop=0)


# ---------------------------------------------------------------- weights


def prefixed(prefix: str):
    return lambda state: {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"checkpoint": 1, "model": {"state_dict": state}},
        prefixed("module."),
        lambda state: {"state_dict": prefixed("module.model.")(state)},
        prefixed("_orig_mod."),
    ],
    ids=["plain", "state_dict", "model", "nested", "module.", "nested prefixes", "compiled"],
)
def test_weights_are_found_under_their_wrappers(tmp_path, file, state, wrap):
    torch.save(wrap(state), tmp_path / "w.pt")
    loaded = load(f"{file}:build", tmp_path / "w.pt").model.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("architecture", ["resnet50", "resnet18"])
def test_a_checkpoint_of_adversarial_training_is_read(tmp_path, architecture):
    """The layout of the published robust ResNet-50: the model twice, beside its mean and deviation."""
    model = torchvision.models.get_model(architecture, num_classes=5)
    statistics = {"new_mean": torch.rand(3, 1, 1), "new_std": torch.rand(3, 1, 1)}
    wrapped = {f"module.normalizer.{name}": value for name, value in statistics.items()}
    wrapped |= {f"module.model.{name}": value for name, value in model.state_dict().items()}
    wrapped |= {f"module.attacker.normalize.{name}": value for name, value in statistics.items()}
    wrapped |= {f"module.attacker.model.{name}": value for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1).state_dict()
    file = tmp_path / "robust.pt"
    torch.save({"model": wrapped, "optimizer": optimizer, "schedule": None, "epoch": 105}, file)
    loaded = load(f"torchvision:{architecture}", file).model
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_prefix_that_is_the_models_own_stays(tmp_path, file, state):
    torch.save(prefixed("net.")(state), tmp_path / "w.pt")
    loaded = load(f"{file}:Holder", tmp_path / "w.pt").model.state_dict()
    assert torch.equal(loaded["net.fc.weight"], state["fc.weight"])


@pytest.mark.parametrize("factory", ["build", "plain"])
def test_a_factory_is_asked_for_the_classes_that_the_weights_have(tmp_path, file, factory):
    torch.save(load(f"{file}:build").model.state_dict(), tmp_path / "four.pt")
    assert load(f"{file}:{factory}", tmp_path / "four.pt").model.fc.out_features == 4
    torch.save(sources._module(file).build(9).state_dict(), tmp_path / "nine.pt")
    if factory == "build":
        assert load(f"{file}:build", tmp_path / "nine.pt").model.fc.out_features == 9
    else:
        with pytest.raises(WeightsError, match=r"fc.weight is \(9, 4\), the model's is \(4, 4\)"):
            load(f"{file}:plain", tmp_path / "nine.pt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "conv.bias"}, "it lacks 1, such as conv.bias"),
        (lambda s: s | {"head.weight": torch.zeros(2)}, "it has 1 that the model lacks, such as head.weight"),
        (lambda s: s | {"conv.weight": torch.zeros(4, 3, 5, 5)}, r"conv.weight is \(4, 3, 5, 5\)"),
        (lambda s: {"a": torch.zeros(1)}, "it lacks 4"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_what_does_not(tmp_path, file, state, change, reason):
    torch.save(change(state), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=f"does not fit .*{reason}"):
        load(f"{file}:build", tmp_path / "w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, state, value):
    state["conv.weight"][0, 0, 0, 0] = value
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"NaN or infinity in conv\.weight"):
        read_weights(tmp_path / "w.safetensors")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize(
    "save",
    [
        lambda harm, path: torch.save({"state_dict": harm}, path),
        lambda harm, path: torch.save(
            {"w": torch.zeros(1), "x": harm}, path, _use_new_zipfile_serialization=False
        ),
        lambda harm, path: path.write_bytes(pickle.dumps(harm)),
    ],
    ids=["zip", "legacy", "bare pickle"],
)
def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path, save):
    save(Hostile(tmp_path / "executed"), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="could run code when it is loaded, so it was refused"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "executed").exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="save only the model's state_dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"garbage that is no file of weights" * 9, b"PK\x03\x04" + b"\x00" * 99, b"\x80\x02"],
)
def test_a_file_that_holds_no_weights_is_refused_by_name(tmp_path, suffix, data):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=str(path)):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_cut_off_anywhere_are_refused(tmp_path, state, suffix):
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    for length in range(1, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=str(path)):
            read_weights(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(3), {"model": {}}])
def test_a_checkpoint_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no tensors by name"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["nowhere.pt", "."])
def test_a_missing_weights_file_is_named(tmp_path, name):
    with pytest.raises(WeightsError, match="there is no weights file"):
        load(NAME, tmp_path / name)


# ---------------------------------------------------------------- a file with a factory


def test_a_file_with_a_factory_gives_its_model(file):
    loaded = load(f"{file}:build")
    assert loaded.name == f"{file}:build"
    assert not loaded.model.training
    assert loaded.model(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("nothing", "has no function 'nothing'"),
        ("value", "has no function 'value'"),
        ("raises", "could not be built: OSError: no such dish"),
        ("number", "gave a int; needed is a torch.nn.Module"),
        ("", "has no function ''"),
    ],
)
def test_a_factory_that_gives_no_model_is_refused(file, factory, reason):
    with pytest.raises(ModelError, match=reason):
        load(f"{file}:{factory}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere_to_be_found", "could not be imported: ModuleNotFoundError"),
        ("def build(:", "could not be imported: SyntaxError"),
        ("1 / 0", "could not be imported: ZeroDivisionError"),
        (None, "there is no file"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "net.py").write_text(text)
    with pytest.raises(ModelError, match=reason):
        load(f"{tmp_path}/net.py:build")


def test_a_file_may_import_its_neighbours_and_define_dataclasses(tmp_path, file):
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from small import Net\n"
        "@dataclass\n"
        "class Plan:\n"
        "    classes: int = 6\n"
        "def build():\n"
        "    return Net(Plan().classes)\n"
    )
    assert load(f"{tmp_path}/net.py:build").model.fc.out_features == 6


# ---------------------------------------------------------------- what a model says about itself


OWN = """
from small import Net
from whyclass import Preprocessing

def ours():
    model = Net()
    model.preprocessing = Preprocessing(40, (32, 32), (0.5, 0.4, 0.3), (0.1, 0.2, 0.3), "bicubic")
    model.class_names = ["cat", "dog", "eel", "fly"]
    return model

def timms():
    model = Net()
    model.pretrained_cfg = {"input_size": (3, 96, 64), "crop_pct": 0.8, "mean": (0.5, 0.5, 0.5), "std": None}
    return model
"""


@pytest.fixture
def own(tmp_path, file) -> str:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


def test_a_factorys_model_brings_its_preprocessing_and_names(tmp_path, own):
    found = load(f"{own}:ours")
    assert found.preprocessing == Preprocessing(40, (32, 32), (0.5, 0.4, 0.3), (0.1, 0.2, 0.3), "bicubic")
    assert found.class_names == ("cat", "dog", "eel", "fly")
    timms = load(f"{own}:timms").preprocessing
    assert timms == Preprocessing(80, (96, 64), (0.5, 0.5, 0.5), Preprocessing().std, "bicubic")


def test_what_the_user_says_overrides_what_the_model_says(tmp_path, own):
    (tmp_path / "names.txt").write_text("w\nx\ny\nz\n")
    found = load(f"{own}:ours", class_names=tmp_path / "names.txt", resize=50, mean=(0.1, 0.1, 0.1))
    assert found.preprocessing == Preprocessing(50, (32, 32), (0.1, 0.1, 0.1), (0.1, 0.2, 0.3), "bicubic")
    assert found.class_names == ("w", "x", "y", "z")


def test_a_module_with_nothing_to_say_has_imagenets_preprocessing():
    module = nn.Module()
    module.preprocessing = nn.Identity()  # a layer of its own
    assert described("it", module) == describing.Loaded("it", module, Preprocessing())


@pytest.mark.parametrize("names", [{0: "cat"}, "cat", [1, 2]])
def test_class_names_that_are_no_list_of_strings_are_refused(names):
    module = nn.Module()
    module.class_names = names
    with pytest.raises(ClassError, match="class_names of it must be a list or tuple of strings"):
        described("it", module)


@pytest.mark.parametrize(
    "config",
    [{"input_size": 224}, {"input_size": (3,)}, {"crop_pct": 0}, {"mean": 0.5}, {"crop_pct": "all"}],
)
def test_a_configuration_that_is_no_preprocessing_is_refused(config):
    module = nn.Module()
    module.pretrained_cfg = config
    with pytest.raises(ModelError, match="pretrained_cfg of it cannot be read"):
        described("it", module)


STAND_IN = """
from types import SimpleNamespace
from small import Net

class AutoModelForImageClassification(Net):
    @classmethod
    def from_pretrained(cls, folder):
        model = cls(2)
        model.config = SimpleNamespace(num_labels=2, id2label={1: "dog", 0: "cat"}, folder=folder)
        return model

    def forward(self, x):
        return SimpleNamespace(loss=None, logits=super().forward(x))

AutoModelForSemanticSegmentation = AutoModelForImageClassification

class AutoImageProcessor:
    size, crop_pct, image_mean, image_std = {"shortest_edge": 70}, 0.875, [0.1, 0.2, 0.3], [0.5, 0.5, 0.5]

    @classmethod
    def from_pretrained(cls, folder):
        return cls()
"""


@pytest.mark.parametrize("size", ['{"shortest_edge": 70}', '{"height": 70, "width": 70}'])
def test_the_recipe_for_transformers_gives_what_its_model_and_processor_say(
    size, tmp_path, file, monkeypatch
):
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    recipe = text.split("## Recipe: transformers")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "net.py").write_text(recipe)
    (tmp_path / "transformers.py").write_text(STAND_IN.replace('{"shortest_edge": 70}', size))
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    found = load(f"{tmp_path}/net.py:classifier")
    sys.modules.pop("transformers")  # whoever comes next gets the real one
    assert found.preprocessing == Preprocessing(80, (70, 70), (0.1, 0.2, 0.3), (0.5, 0.5, 0.5), "bicubic")
    assert found.class_names == ("cat", "dog")
    assert found.model.config.folder == "my-vit"
    assert run(found.model, torch.zeros(2, 3, 8, 8)).shape == (2, 2)
    assert split(found.model, "conv", torch.zeros(1, 3, 8, 8)).shape == (4, 6, 6)


# ---------------------------------------------------------------- class names


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", "tench\nGreat Dane\nCôte"),
        ("a.txt", "tench\r\nGreat Dane\r\nCôte\r\n\r\n"),
        ("a.txt", "\ufefftench\n Great Dane \nCôte\n"),
        ("a.json", json.dumps(["tench", "Great Dane", "Côte"])),
        ("a.json", "\ufeff" + json.dumps(["tench", "Great Dane", "Côte"])),
        ("names", "tench\nGreat Dane\nCôte"),
    ],
)
def test_class_names_are_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data.encode())
    assert read_class_names(tmp_path / name) == ("tench", "Great Dane", "Côte")
    assert load(NAME, class_names=tmp_path / name, pretrained=False).class_names[0] == "tench"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "holds no class name"),
        ("a.txt", b"\n\n  \n", "holds no class name"),
        ("a.json", b"[]", "holds no class name"),
        ("a.json", b"{", "cannot read class names"),
        ("a.json", b'{"tench": "fish"}', "from index to name"),
        ("a.json", b'{"1": "tench"}', "lack 0"),
        ("a.json", b"[1, 2]", "JSON list of strings"),
        ("a.txt", b"\xff\xfet\x00", "cannot read class names"),
    ],
)
def test_a_file_without_class_names_is_refused(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ClassError, match=reason):
        read_class_names(tmp_path / name)


def test_a_missing_file_of_class_names_is_named(tmp_path):
    with pytest.raises(ClassError, match=r"nowhere\.txt"):
        read_class_names(tmp_path / "nowhere.txt")


# ---------------------------------------------------------------- fingerprint


def test_a_fingerprint_changes_with_one_weight_and_nothing_else(file):
    model = load(f"{file}:build").model
    before = fingerprint(model)
    assert fingerprint(model) == before
    model.conv.weight.data[0, 0, 0, 0] += 1e-6
    changed = fingerprint(model)
    assert changed != before
    model.double()
    assert fingerprint(model) not in (before, changed)


def test_a_fingerprint_covers_buffers_and_structure():
    one, two = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.BatchNorm2d(3, eps=1e-3))
    assert fingerprint(one) != fingerprint(two)
    before = fingerprint(one)
    one[0].running_mean += 1
    assert fingerprint(one) != before


def test_a_fingerprint_covers_what_the_users_own_code_does(tmp_path, file):
    torch.manual_seed(0)
    before = fingerprint(load(f"{file}:build").model)
    torch.manual_seed(0)
    assert fingerprint(load(f"{file}:build").model) == before
    file.write_text(SMALL.replace(".relu()", ".sigmoid()"))
    torch.manual_seed(0)
    assert fingerprint(load(f"{file}:build").model) != before


def test_a_fingerprint_of_odd_parameters_is_found():
    model = nn.Module()
    model.register_buffer("empty", torch.zeros(0, 3))
    model.register_buffer("number", torch.tensor(3))
    model.register_buffer("halved", torch.zeros(2, dtype=torch.bfloat16))
    model.register_buffer("yes", torch.tensor([True]))
    assert len(fingerprint(model)) == 32


def test_a_fingerprint_does_not_depend_on_the_folder_a_model_of_transformers_came_from(file):
    def made(**attributes):
        torch.manual_seed(0)
        model = load(f"{file}:build").model
        for name, value in attributes.items():
            setattr(model, name, value)
        return fingerprint(model)

    here = made(name_or_path="/here/my-vit", loss_type=None, scale=1.0)
    assert made(name_or_path="hub/my-vit", loss_type="ForImageClassification", scale=1.0) == here
    assert made(name_or_path="/here/my-vit", loss_type=None, scale=2.0) != here
    assert made(loss_type="one") != made(loss_type="two")  # of another model's it is not known what it does


# ---------------------------------------------------------------- timm


def test_a_timm_model_has_its_own_preprocessing_and_names():
    found = load("timm:resnet18", pretrained=False)
    assert found.preprocessing.crop == (224, 224)
    assert (found.preprocessing.resize, found.preprocessing.interpolation) == (235, "bicubic")
    assert found.class_names[207] == "golden retriever"
    small = load("timm:vit_tiny_patch16_384", pretrained=False)
    assert small.preprocessing.crop == (384, 384)
    assert small.preprocessing.mean == (0.5, 0.5, 0.5)


def test_weights_of_a_timm_model_are_loaded_with_as_many_classes_as_they_have(tmp_path):
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=7)
    save_file(model.state_dict(), tmp_path / "seven.safetensors")
    found = load("timm:resnet18", tmp_path / "seven.safetensors")
    assert found.class_names == ()
    assert torch.equal(found.model.fc.weight, model.fc.weight)
    with pytest.raises(WeightsError, match="does not fit timm:resnet34"):
        load("timm:resnet34", tmp_path / "seven.safetensors")


def test_an_unknown_timm_model_names_the_nearest():
    with pytest.raises(ModelError, match=r"did you mean .*resnet"):
        load("timm:resnett50", pretrained=False)


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"pip install 'whyclass\[timm\]'"):
        load("timm:resnet18", pretrained=False)


# ---------------------------------------------------------------- smp


def test_an_smp_net_has_as_many_classes_as_its_weights(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
    net = smp.Unet("mobilenet_v2", encoder_weights=None, classes=4)
    save_file(net.state_dict(), tmp_path / "four.safetensors")
    found = load("smp:Unet:mobilenet_v2", tmp_path / "four.safetensors")
    assert run(found.model, torch.zeros(1, 3, 32, 32)).shape == (1, 4, 32, 32)
    assert torch.equal(found.model.segmentation_head[0].weight, net.segmentation_head[0].weight)
    assert found.preprocessing == Preprocessing()
    with pytest.raises(WeightsError, match="does not fit smp:Linknet"):
        load("smp:Linknet:mobilenet_v2", tmp_path / "four.safetensors")


@pytest.mark.parametrize(
    ("encoder", "mean"),
    [
        ("resnet18", Preprocessing().mean),
        ("inceptionv4", (0.5, 0.5, 0.5)),
        ("timm-tf_efficientnet_lite0", (0.5, 0.5, 0.5)),
        ("tu-vit_tiny_patch16_384", (0.5, 0.5, 0.5)),
        ("tu-resnet18", Preprocessing().mean),
        ("tu-test_resnet.r160_in1k", (0.5, 0.5, 0.5)),
    ],
)
def test_the_statistics_of_an_smp_encoder_need_no_network(monkeypatch, encoder, mean):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    assert sources._smp_statistics(encoder)[0] == mean


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("smp:Unett:resnet18", "no architecture 'Unett'; did you mean Unet"),
        ("smp:", "no architecture ''; did you mean Unet"),
        ("smp:Unet:resnet19", "no encoder 'resnet19'; did you mean .*resnet18"),
        ("smp:Unet", "no encoder ''; did you mean resnet34"),
        ("smp:Unet:tu-resnett18", "did you mean .*tu-resnet18"),
    ],
)
def test_an_unknown_smp_net_names_the_nearest(name, reason):
    pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
    with pytest.raises(ModelError, match=reason):
        load(name, pretrained=False)


def test_an_smp_net_without_weights_is_refused_where_it_is_to_be_explained():
    pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
    with pytest.raises(WeightsError, match="weights for its encoder only"):
        load("smp:Unet:resnet18")


def test_without_smp_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ModelError, match=r"pip install 'whyclass\[smp\]'"):
        load("smp:Unet:resnet18")
