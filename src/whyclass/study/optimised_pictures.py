"""What concepts would themselves draw, as records (paper, appendix B)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from whyclass.checks.statistics import nonsense
from whyclass.errors import SettingsError
from whyclass.models.fast_trunk import Trunk, noisy_precision, smooth_trunk
from whyclass.models.preprocessing import Preprocessing
from whyclass.records import Concept, Drawn, PredictionTest
from whyclass.settings import Settings, seed_of
from whyclass.study import crop_pictures
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.context import Context
from whyclass.study.prediction_test_and_control import recorded, stitched_pieces
from whyclass.visualise import optimise, parametrisations


@dataclass(frozen=True)
class Pictured:
    """Concepts with the pictures that they would draw, and the prediction tests of these, stitched.

    ``test`` is None where no pictures are asked for, ``control`` where no controls are: it is that of as
    many pictures of random directions, which are the concepts with their channels in another order.
    """

    concepts: tuple[Concept, ...]
    test: PredictionTest | None = None
    control: PredictionTest | None = None


def check(settings: Settings, decoder: nn.Module | None, preprocessing: Preprocessing) -> None:
    """Refuse early what cannot be drawn.

    Raises
    ------
    SettingsError
        If a decoder is needed and there is none.
    ModelError
        If there is one and it does not fit the model.
    """
    if settings.pictures == "generator":
        image = torch.zeros(1, preprocessing.channels, *preprocessing.crop)
        _space(settings, decoder, preprocessing, image if settings.picture_start == "image" else None)


def drawn(own: ClassEvidence, concepts: tuple[Concept, ...]) -> Pictured:
    """The concepts with the pictures that they would draw.

    Where no pictures are asked for the concepts come back as they are.
    """
    context, settings = own.context, own.context.settings
    if settings.pictures == "none" or not concepts:
        return Pictured(concepts)
    vectors = torch.tensor(np.stack([concept.vector for concept in concepts]))
    start = _images(context, concepts) if settings.picture_start == "image" else None
    anywhere, space = (
        _space(settings, context.decoder, context.preprocessing, images) for images in (None, start)
    )
    anywhere.candidates = 1  # any picture of noise, and not the one that comes closest
    trunk = smooth_trunk(context.split, noisy_precision(settings.precision, context.split))
    noise = _draw(context, trunk, anywhere, vectors, 0)
    found = _draw(context, trunk, space, vectors, settings.picture_steps)
    pictures = [
        Drawn(
            picture=crop_pictures.encode(context.preprocessing.undo(found.images[row])),
            cosine=float(found.cosines[row]),
            random=float(noise.cosines[row]),
            steps=found.steps[row],
            problem=found.problems[row],
        )
        for row in range(len(concepts))
    ]
    shown = tuple(replace(one, drawn=picture) for one, picture in zip(concepts, pictures, strict=True))
    if not settings.controls:
        return Pictured(shown, _tested(own, found))
    shuffled = torch.from_numpy(
        nonsense(vectors.numpy(), seed_of("shuffled", settings.seed, ""), len(vectors))
    )
    others = _draw(context, trunk, space, shuffled, settings.picture_steps, "pictures of random directions")
    return Pictured(shown, _tested(own, found), _tested(own, others))


def _space(
    settings: Settings, decoder: nn.Module | None, preprocessing: Preprocessing, start: Tensor | None = None
) -> parametrisations.Space:
    if settings.pictures == "fourier":
        return parametrisations.Fourier(preprocessing, start)
    if decoder is None:
        raise SettingsError(
            "pictures are to be drawn in a decoder's latent space and there is no decoder; give one "
            "(--decoder path/to/file.py:factory), or draw them as spectra (pictures=fourier)"
        )
    return parametrisations.Generator(decoder, preprocessing, start)


def _draw(
    context: Context,
    trunk: Trunk,
    space: parametrisations.Space,
    vectors: Tensor,
    steps: int,
    name: str = "pictures",
) -> optimise.Drawn:
    with context.progress.step(name, steps, "steps") as advance:
        return optimise.draw(
            context.split,
            vectors,
            space,
            context.preprocessing,
            steps=steps,
            seed=context.settings.seed,
            pool=context.settings.pool,
            clipped=context.clipped,
            trunk=trunk,
            advance=advance,
        )


def _images(context: Context, concepts: tuple[Concept, ...]) -> Tensor:
    """The images (n, C, S, T) that the concepts' best crops lie in."""
    positions = [context.position(concept.including[0].image.path) for concept in concepts]
    return torch.stack([sample.tensor for sample in context.read(positions)])


def _tested(own: ClassEvidence, found: optimise.Drawn) -> PredictionTest:
    with own.context.progress.step("test of the pictures"):
        test = stitched_pieces(own.context, list(found.images))
        # the pictures themselves are kept without loss; six more of their like would double a page
        return recorded(own.context, own.target, test, lean=True)
