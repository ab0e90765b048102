"""Made-up but realistic explanations: painted pictures, crops that really come from them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from whyclass.records import (
    ClassImage,
    Completeness,
    Concept,
    Contribution,
    Control,
    Crop,
    Explanation,
    Fit,
    HeatMap,
    LeftOut,
    ModelInfo,
    Null,
    Picture,
    PoolInfo,
    Prediction,
    PredictionTest,
    PredictionTests,
    Refits,
    Skipped,
    Source,
    Stability,
)

NAMES = (
    "French horn",
    "cornet",
    "trombone",
    "sax",
    "oboe",
    "drum",
    "chain saw",
    "tench",
    "church",
    "gas pump",
)
HOSTILE = "<script>alert(1)</script>\" onmouseover='alert(2)' {{ 7*7 }} \u202e\x1b[31m\udce9&amp;"
CASES = ("both", "second fails", "both fail", "chance", "alone", "no control", "hostile")

LOW = Control(20, 0.002, 0.0, 0.01, 0.0)
HIGH = Control(20, 0.81, 0.42, 0.99, 0.85)


def explanation(
    case: str = "both",
    *,
    names: tuple[str, ...] = NAMES,
    size: tuple[int, int] = (224, 224),
    crop: tuple[int, int] = (74, 74),
    k: int = 6,
    n_images: int = 49,
) -> Explanation:
    """One of ``CASES``; ``size`` and ``crop`` are (width, height)."""
    names = (HOSTILE, *names[1:]) if case == "hostile" else names
    world = _World(names, size, crop)
    concepts = tuple(_concept(world, number, k, min(6, n_images)) for number in range(k))
    tests = PredictionTests(
        _test(world, [concept.including[0] for concept in concepts], 0.998, LOW),
        _test(world, [concept.excluding[0] for concept in concepts], 0.962, LOW),
    )
    made = Explanation(
        model=ModelInfo(
            "torchvision:resnet50", "9f2c51c7" * 8, "layer4.2", (2048, 7, 7), "resize 224, centre crop 224"
        ),
        pool=PoolInfo(
            "imagenette/val", 3925, "c4ab01d9" * 8, (Skipped("n03394916/broken.jpg", "truncated file"),)
        ),
        target=Prediction(0, names[0], 0.91),
        n_images=n_images,
        n_predicted=max(n_images, 381),
        images=tuple(world.shown(index) for index in range(min(6, n_images))),
        concepts=concepts,
        prediction_test=tests,
        rival=None,
        completeness=Completeness(20 * n_images, 1.8e-6, 3.1e-5, 20),
        warnings=(),
        settings={"k": k, "seed": 0, "noise": 0.25, "samples": 20, "baseline": "ones", "images": 60},
        versions={"whyclass": "0.1.0", "torch": "2.9.0", "python": "3.11.7"},
        refits=Refits(6, 1.0, n_images // 2),
        fit=Fit(0.21, True),
    )
    return _vary(made, case)


def _vary(made: Explanation, case: str) -> Explanation:
    tests = made.prediction_test
    if case == "second fails":
        failed = _failed(tests.excluding, 0.12)
        return replace(made, prediction_test=replace(tests, excluding=failed), rival=failed.top[0])
    if case == "both fail":
        both = PredictionTests(_failed(tests.including, 0.21), _failed(tests.excluding, 0.004))
        few = ("Only 4 images are predicted as this class.",)
        return replace(made, prediction_test=both, rival=both.including.top[0], warnings=few)
    if case == "chance":
        both = PredictionTests(replace(tests.including, control=HIGH), replace(tests.excluding, control=HIGH))
        return replace(made, prediction_test=both)
    if case == "alone":
        concepts = tuple(replace(concept, excluding=()) for concept in made.concepts)
        return replace(
            made,
            concepts=concepts,
            prediction_test=replace(tests, excluding=None),
            pool=replace(made.pool, size=made.n_predicted),
        )
    if case == "no control":
        both = PredictionTests(replace(tests.including, control=None), replace(tests.excluding, control=None))
        return replace(made, prediction_test=both)
    return _poison(made) if case == "hostile" else made


def _poison(made: Explanation) -> Explanation:
    """The hostile name in every string of the record that a page shows."""
    image = replace(made.images[0].image, path=HOSTILE)
    return replace(
        made,
        model=ModelInfo(HOSTILE, HOSTILE, HOSTILE, (2048, 7, 7), HOSTILE),
        pool=PoolInfo(
            HOSTILE, 3925, HOSTILE, (Skipped(HOSTILE, HOSTILE),), (LeftOut(HOSTILE, 1),), (HOSTILE,)
        ),
        images=(replace(made.images[0], image=image), *made.images[1:]),
        warnings=(HOSTILE,),
        settings={HOSTILE: HOSTILE, "nested": {"list": [HOSTILE]}},
        versions={HOSTILE: HOSTILE},
    )


def _failed(test: PredictionTest, score: float) -> PredictionTest:
    ours = next(best for best in test.top if best.index == 0)
    others = [best for best in test.top if best.index != 0]
    winner = replace(others[0], score=0.41)
    top = sorted([winner, *others[1:], replace(ours, score=score)], key=lambda best: -best.score)
    return replace(test, score=score, predicted=False, top=tuple(top))


class _World:
    """A pool of painted images, half of them predicted as the class."""

    def __init__(
        self, names: tuple[str, ...], size: tuple[int, int], crop: tuple[int, int], n: int = 16
    ) -> None:
        self.names, self.size, self.crop = names, size, crop
        self.rng = np.random.default_rng(7)
        self.images = [_paint(self.rng, size, index) for index in range(n)]
        self.sources = [self._source(index, index < n // 2) for index in range(n)]

    def _source(self, index: int, ours: bool) -> Source:
        name = 0 if ours else 1 + index % (len(self.names) - 1)
        prediction = Prediction(name, self.names[name], round(float(self.rng.uniform(0.5, 0.99)), 4))
        return Source(
            f"n{3394916 + index:08d}/ILSVRC2012_val_{4021 + 977 * index:08d}.jpg", f"{index:064x}", prediction
        )

    def shown(self, index: int) -> ClassImage:
        return ClassImage(self.sources[index], _jpeg(self.images[index]))

    def cut(self, index: int, cosine: float) -> Crop:
        columns, rows = max(1, self.size[0] // self.crop[0]), max(1, self.size[1] // self.crop[1])
        left = int(self.rng.integers(columns)) * self.crop[0]
        top = int(self.rng.integers(rows)) * self.crop[1]
        box = (left, top, left + self.crop[0], top + self.crop[1])
        return Crop(self.sources[index], box, cosine, _png(self.images[index].crop(box)))


def _concept(world: _World, number: int, k: int, n_images: int) -> Concept:
    half, weights = len(world.images) // 2, np.linspace(2.0, 1.0, k)
    near = [0.93 - 0.02 * place - 0.01 * number for place in range(8)]
    including = [world.cut((3 * number + i) % (half + 3), near[i]) for i in range(8)]
    excluding = [world.cut(half + (number + i) % half, near[i] - 0.15) for i in range(8)]
    return Concept(
        vector=np.abs(world.rng.normal(size=16)).astype(np.float32),
        share=float(weights[number] / weights.sum()),
        including=tuple(including),
        excluding=tuple(excluding),
        heat_maps=tuple(HeatMap(_blob(world.rng)) for _ in range(n_images)),
        contribution=Contribution(0.3, 0.25, 5.1, 1 / 30, True, 29),
        stability=Stability(0.91, 0.97, 0.5, 6),
    )


def _test(world: _World, crops: list[Crop], score: float, control: Control) -> PredictionTest:
    width, height = world.crop
    column = Image.new("RGB", (width, height * len(crops)))
    for place, crop in enumerate(crops):
        column.paste(Image.open(io.BytesIO(crop.picture.data)), (0, place * height))
    scores = [score, *((1 - score) * share for share in (0.6, 0.2, 0.1, 0.05))]
    top = tuple(Prediction(i, name, s) for i, (name, s) in enumerate(zip(world.names, scores, strict=False)))
    by_digest = {source.digest: index for index, source in enumerate(world.sources)}
    sources = tuple(world.shown(by_digest[crop.image.digest]) for crop in crops)
    nulls = tuple(
        Null(kind, 199, 0.1, 0.05, 0.9, 0.005) for kind in ("random crops", "random cells", "shuffled scores")
    )
    test = PredictionTest(score, True, top, "stacked", 3925, _png(column), sources, control)
    return replace(test, distinct=len(crops), backing=4.2, smallest=(0,), again=(0.9, 0.8, 0.4), nulls=nulls)


def _blob(rng: np.random.Generator, side: int = 7) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    cy, cx = rng.uniform(1, side - 2, size=2)
    values = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(1.5, 4)) * rng.uniform(0.4, 1)
    return values.astype(np.float32)


def _paint(rng: np.random.Generator, size: tuple[int, int], index: int) -> Image.Image:
    """A blurred backdrop with brass rings (even) or stripes and balls (odd), with some grain."""
    width, height = size
    small = Image.fromarray(rng.integers(30, 220, (4, 4, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        r = int(rng.integers(8, 20) * min(size) / 100) + 1
        color = tuple(int(v) for v in rng.integers(120, 255, 3) * (1.0, 0.8, 0.4 if index % 2 else 0.9))
        if index % 2:
            draw.ellipse((x - r, y - r, x + r, y + r), outline=color, width=max(1, r // 4))
        else:
            draw.rectangle((x - r, y - r // 3, x + 2 * r, y + r // 3), fill=color)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(min(size) / 150)), dtype=np.int16)
    return Image.fromarray((soft + rng.integers(-5, 6, soft.shape)).clip(0, 255).astype(np.uint8))


def _png(image: Image.Image) -> Picture:
    return _encoded(image, "PNG", "image/png")


def _jpeg(image: Image.Image) -> Picture:
    return _encoded(image, "JPEG", "image/jpeg")


def _encoded(image: Image.Image, kind: str, mime: str) -> Picture:
    stream = io.BytesIO()
    image.save(stream, kind)
    return Picture(stream.getvalue(), image.width, image.height, mime)
