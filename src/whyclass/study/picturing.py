"""What concepts would themselves draw, as records (paper, appendix B)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from whyclass import data, visualise
from whyclass.pictures import Pictures, stitched_pieces
from whyclass.records import Concept, Drawn, PredictionTest
from whyclass.scene import Scene
from whyclass.study.subject import Subject


def drawn(own: Subject, concepts: tuple[Concept, ...]) -> tuple[tuple[Concept, ...], PredictionTest | None]:
    """The concepts with the pictures that they would draw, and the prediction test of these, stitched.

    Where no pictures are asked for the concepts come back as they are.
    """
    scene, settings = own.scene, own.scene.settings
    if settings.pictures == "none":
        return concepts, None
    vectors = torch.tensor(np.stack([concept.vector for concept in concepts]))
    before = _draw(scene, vectors, 0)
    found = _draw(scene, vectors, settings.picture_steps)
    with scene.progress.step("test of the pictures"):
        test = stitched_pieces(scene, list(found.images))
        record = Pictures(scene, [own.target]).tested(own.target, test, (), 0, None)
    pictures = [
        Drawn(
            picture=data.encode(scene.preprocessing.undo(found.images[row])),
            cosine=float(found.cosines[row]),
            random=float(before.cosines[row]),
            steps=found.steps[row],
            problem=found.problems[row],
        )
        for row in range(len(concepts))
    ]
    return tuple(replace(one, drawn=own) for one, own in zip(concepts, pictures, strict=True)), record


def _draw(scene: Scene, vectors: Tensor, steps: int) -> visualise.Drawn:
    with scene.progress.step("pictures", steps, "steps") as advance:
        return visualise.draw(
            scene.split,
            vectors,
            visualise.Fourier(scene.preprocessing),
            scene.preprocessing,
            steps=steps,
            seed=scene.settings.seed,
            pool=scene.settings.pool,
            clipped=scene.clipped,
            advance=advance,
        )
