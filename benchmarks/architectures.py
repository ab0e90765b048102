"""Relative completeness error of our DeepLift and of Captum's for each architecture, as a Markdown table.

The networks, layers, images, baseline and class are those of ``tests/helpers/architectures.py``; the table is
that of ``docs/architectures.md``. Captum gets a network of its own each time: after an error it leaves its
hooks.

    python benchmarks/architectures.py
    python benchmarks/architectures.py resnet50 unet
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from captum.attr import LayerDeepLift
from torch import Tensor, nn

from whyclass.models.forward import tensor_of
from whyclass.models.split import split

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.architectures import ARCHITECTURES, Case, build, case, explain, logits, pictures

IMAGES = 2


def main() -> None:
    wanted = set(sys.argv[1:]) or {architecture.name for architecture in ARCHITECTURES}
    print("| architecture | library | layer | whyclass | Captum |\n|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        if architecture.name not in wanted:
            continue
        model, images = build(architecture), pictures(IMAGES, architecture.size)
        for layer in architecture.layers:
            given = case(split(model, layer, images[:1]), images)
            found = explain(given)
            ours = f"{found.error.max():.1e}" + "".join(f", no rule: {name}" for name in found.unruled)
            theirs = captums(build(architecture), given)
            print(
                f"| `{architecture.name}` | {architecture.library} | `{layer}` | {ours} | {theirs} |",
                flush=True,
            )


class _Logits(nn.Module):
    """Captum takes a module whose output is a tensor (n, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return logits(tensor_of(self.model(images)))


def captums(network: nn.Module, given: Case) -> str:
    """The largest error of Captum's LayerDeepLift over the images, or what it raises."""
    model, layer = _Logits(network), network.get_submodule(given.cut.layer)
    with torch.no_grad():
        difference = (model(given.images) - model(given.reference))[:, given.target].double()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = LayerDeepLift(model, layer).attribute(given.images, given.reference, target=given.target)
    except Exception as error:  # whatever it raises is the result
        return "raises: " + in_few_words(error)
    total = values.detach().double().flatten(1).sum(1)
    return f"{((total - difference).abs() / difference.abs()).max():.1e}"


def in_few_words(error: Exception) -> str:
    """What the error says, shortened where it is known, in a form that does not break the table."""
    message = " ".join(str(error).replace("|", "/").split())
    known = {"does not contain some of the input/output attributes": "a module is called several times"}
    found = [short for long, short in known.items() if long in message]
    return found[0] if found else f"{type(error).__name__}: {message[:80]}"


if __name__ == "__main__":
    main()
