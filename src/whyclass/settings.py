"""Every constant of the method, with the paper's value as the default."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

from whyclass.errors import SettingsError
from whyclass.setting_checks import SHORT, check, check_steps, told

BASELINES = ("ones", "white")
RELU = ("after", "before")
PRECISIONS = ("auto", "float32", "bfloat16")
NOISE = ("device", "processor")
METHODS = ("deeplift", "gradient")
LAYOUTS = ("auto", "stacked", "grid", "mosaic")
FILLS = ("zero", "white")
CROPS = ("paper", "cell", "centred", "larger", "wide")
SIGNED = ("split", "clip", "semi")
TARGETS = ("map", "confident")
PICTURES = ("none", "fourier", "generator")
STARTS = ("noise", "image")
TESTS = ("shifting", "masking", "insertion")
AUDIT_TESTS = ("prediction", "shift", "mask")
COMPARED_METHODS = ("whyclass", "ice", "craft", "ace", "kmeans", "pca", "random-cells", "permuted")
NAMED_METHODS = ("kmeans-scored",)
"""Methods that are compared where they are named."""

CONCEPTS_BY = "concepts_by"
"""What an audit's settings say beside, where its concepts are another method's."""

TABLE_FILES = (".parquet", ".csv")
TABLE_FORMATS = ("text", "csv", "json", "markdown", "latex")
CHOICE_CLASSES, CHOICE_SAMPLE = 8, 1000
"""Where a layer is chosen: classes tested, and images searched for crops, unless others are asked for."""

PLANES = ("paper", "zero", "balanced", "converged", "mean", "pattern")
CONTRASTS = ("plane", "attribution", "both")
AUTO = "auto"
"""Of ``copies``: as many as it takes."""

UNITS = ("distance", "normal")
CURVES = ("narrowed", "whole")

SHIFTS = (0.0, 0.5, 1.0, 2.0, 10.0, 15.0, 20.0, 35.0, 50.0, 200.0)
"""The paper's steps, on the normal as it is."""

STEPS_APART = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 20.0)
"""Steps in units of the distance between both classes' mean cells."""

OF_NULLS = ("null_cells", "null_scores", "fillings", "refits")
"""Settings of what an explanation is worth."""

OF_PLANES = ("plane_starts", "plane_bootstraps", "plane_permutations")
"""Settings of what is known of a contrast's hyperplane."""

WORDS = {"copies": (AUTO,)}
"""What numbers may be besides."""

CHOICES = {
    "baseline": BASELINES,
    "relu": RELU,
    "method": METHODS,
    "layout": LAYOUTS,
    "precision": PRECISIONS,
    "noise_on": NOISE,
    "fill": FILLS,
    "crop_at": CROPS,
    "signed": SIGNED,
    "target": TARGETS,
    "pictures": PICTURES,
    "picture_start": STARTS,
    "plane": PLANES,
    "contrast_by": CONTRASTS,
    "pair_crop_at": CROPS,
    "shift_unit": UNITS,
    "mask_curve": CURVES,
}
"""Settings that are one of a few words."""


def _check_copies(settings: Any) -> None:
    check(settings, "noise", float, 0.0)
    if settings.copies != AUTO:
        check(settings, "copies", int, 1)
    if settings.copies != 1 and settings.noise == 0:
        raise SettingsError("noise is 0, so all copies are the same; set copies=1 or noise above 0")


def _check_choices(settings: Any) -> None:
    for name, allowed in CHOICES.items():
        if (value := getattr(settings, name)) not in allowed:
            raise SettingsError(f"{name} is {told(value)}; choose one of {', '.join(allowed)}")


@dataclass(frozen=True)
class Settings:
    """How a class is explained, and two are contrasted. Section numbers are those of the paper.

    Attributes
    ----------
    images
        At most so many images predicted as the class are used (4.1).
    copies, noise
        SmoothGrad: noisy copies of each image, and the noise's standard deviation in normalised
        input space (4.1). ``copies="auto"`` makes pairs of opposite noise, equally many of each image of a
        class, until the standard error of the scores is small: 6 to 20 copies.
    baseline
        DeepLift's reference image: ``"ones"`` is 1.0 in normalised space (the authors' code, from
        which the published tables come), ``"white"`` a white picture, normalised (4.1's words).
    relu
        Where negative attribution is cut: ``"after"`` the mean over channels (4.1), or ``"before"``
        it (the authors' code).
    method
        Attribution method: ``"deeplift"`` (4.1), or ``"gradient"``, the gradient times the difference from
        the baseline, for comparison.
    concepts
        Components of the NMF (4.1).
    starts
        The NMF is begun so many times, once from singular vectors and then at random (semi-NMF: from
        clusters of cells), and the one that reconstructs best is kept. The paper is silent; one start
        often ends in a minimum that a breath of other noise leaves, many mostly agree.
    iterations, tolerance
        Where the NMF stops: after so many rounds, or when a round improves less than this part. The default
        lets it end by itself; the presets stop where scikit-learn, which the authors use, stops.
    crops
        Nearest crops shown of each concept; the first is used in the test (4.2).
    pool
        Side of the average pooling before crops are compared (4.2).
    crop_at
        Where a crop is cut: ``"paper"``, the image divided by the pooled grid (4.2), ``"cell"``, the pixels
        of the pooled cell that was compared, ``"centred"``, of the paper's size around their middle,
        ``"larger"``, one and a half times as high and wide, or ``"wide"``, twice. The first three differ
        where the pool does not divide the grid.
    pair_crop_at, pair_crops
        The same for the test image of a contrast, and how many crops of each of its concepts it is made of.
    layout
        How the test image is made: ``"stacked"`` along the height (4.3), a near-square ``"grid"`` at native
        size, a ``"mosaic"``, which is a grid of the model's input size, or ``"auto"``: stacked where the
        model takes that size, else a mosaic. A grid too is a mosaic where the model does not take its size.
    controls
        Random directions to shift and mask along, crops of third classes to insert, and sets of random crops
        for the prediction test of a contrast: so many of each, to compare with. Not in the paper; 0 leaves
        them out.
    null_crops, null_cells, null_scores
        How many explanations of nothing an explanation has to beat in its prediction test: so many draws of
        random crops; crops nearest to random cells of the class's own images, so many sets; and the whole
        way from attribution scores that were shuffled within each image, so many times. Not in the paper;
        0 leaves them out, and without them no explanation is called supported.
    audit_nulls
        For each class of an audit so many sets of both kinds are made instead, and compared over all classes.
        Not in the paper; 0 leaves them out, with all that is asked about members and halves.
    fillings
        Each concept's crop is replaced by so many random ones, and shown among so many, to see what it does
        for the test. Not in the paper; 0 leaves it out.
    refits
        The concepts are found anew from so many halves of the class's images, two halves each time. Not in
        the paper; 0 leaves it out.
    control_images
        Each of those directions and crops is tried on so many images, all images in turn.
    examples
        So many of the class's images are kept with heat maps of the concepts: those in which each
        concept in turn is most active. Not in the paper.
    precision
        Of the trunk: ``"auto"`` takes bfloat16 for noisy copies and drawn pictures where the processor is
        made for it and float32 for all else; ``"bfloat16"`` takes it for the pass over the pool too.
    noise_on
        What draws the noise of copies where a card computes: the ``"device"`` itself, or the ``"processor"``,
        which is slower and gives the copies that a run without a card has.
    cut
        A cell speaks for its class, and hyperplanes are fitted to it, where its score exceeds this part
        of its image's largest (5.1.1).
    plane
        How a hyperplane is laid between the cells of two classes: ``"paper"``, descent from a random start
        (5.1.1); ``"zero"``, the same from zero; ``"balanced"``, from zero with classes and a class's images
        that weigh the same; ``"converged"``, logistic regression to its optimum, its penalty chosen by
        cross-validation over images; ``"mean"``, the difference of the mean cells; ``"pattern"``, covariance
        of the cells times the balanced filter.
    contrast_by
        What says which cells of A's images speak for A against B: ``"plane"``, their distance from the
        hyperplane (5.1.2), ``"attribution"`` of the difference of both logits, or ``"both"``, the product.
    epochs, rate
        Gradient descent of a hyperplane: rounds and learning rate (5.1.1).
    held_out
        Share of each class's images that a second fit leaves out, to measure the hyperplane on. Not in
        the paper; 0 leaves it out.
    plane_starts, plane_bootstraps, plane_permutations
        The hyperplane of a contrast is fitted again from so many other starts, to so many resamplings of each
        class's images, and to so many permutations of which image is of which class. Not in the paper; 0
        leaves them out, and a contrast whose hyperplane was not compared with permutations is read with care.
    budget
        GiB of memory in which hyperplanes are fitted together; what needs more is fitted in turns. It
        changes no result but by rounding.
    tests
        Which tests of a contrast are run: of ``"shifting"``, ``"masking"``, ``"insertion"``.
    shifts, shift_unit, finer
        Steps along the hyperplane's normal in the shifting test (5.2.1), the first one 0. They are multiples
        of the ``"normal"`` as it is, as in the paper, or of the ``"distance"`` between both classes' mean
        cells along it. ``finer`` more steps lie around the best of them.
    mask_curve
        Of the masking test: ``"whole"`` tries all shares of blank cells, and all controls, on all images
        (appendix C); ``"narrowed"`` drops shares that fall behind after a part of the images, and tries
        controls that cannot change the outcome on a part alone. Outcome, highest score and share are
        the same but where the target never wins and few images carry its mean.
    signed
        How the NMF sees a layer whose activations can be negative: ``"split"``, positive and negative
        parts as separate channels, undone in the concepts, ``"clip"``, negative ones as 0, or
        ``"semi"``, as they are, with concepts of any sign (semi-NMF). Not in the paper, which takes
        layers after a ReLU.
    target
        What a segmentation net's logit is: the mean of the class's ``"map"`` of logits, or the mean with all
        left out but ``"confident"`` pixels, whose softmax exceeds one half on the clean image.
    pictures, picture_steps, picture_start
        ``"fourier"`` and ``"generator"``: beside its crops each concept is shown by the picture that it would
        itself draw, optimised in so many steps (appendix B), as a spectrum or in a decoder's latent space.
        It is begun from ``"noise"``, or from the ``"image"`` that the concept's best crop lies in.
    fill
        What masked and blanked pixels become: ``"zero"`` in normalised space (table 4), or ``"white"``.
    seed
        Decides the draw of images, the noise, the starts of NMF and hyperplane, and the controls.
    """

    images: int = 60
    copies: int | str = 20
    noise: float = 0.25
    baseline: str = "ones"
    relu: str = "after"
    method: str = "deeplift"
    concepts: int = 6
    starts: int = 8
    iterations: int = 2000
    tolerance: float = 1e-4
    crops: int = 8
    pool: int = 2
    crop_at: str = "centred"
    layout: str = "auto"
    controls: int = 20
    null_crops: int = 199
    null_cells: int = 19
    null_scores: int = 19
    audit_nulls: int = 3
    fillings: int = 8
    refits: int = 3
    examples: int = 6
    precision: str = "auto"
    noise_on: str = "device"
    seed: int = 0
    control_images: int = 4
    cut: float = 0.25
    epochs: int = 100
    rate: float = 0.01
    held_out: float = 0.2
    budget: float = 2.0
    tests: tuple[str, ...] = TESTS
    shifts: tuple[float, ...] = STEPS_APART
    fill: str = "zero"
    signed: str = "split"
    target: str = "map"
    pictures: str = "none"
    picture_steps: int = 256
    picture_start: str = "noise"
    plane_starts: int = 5
    plane_bootstraps: int = 20
    plane_permutations: int = 99
    plane: str = "balanced"
    contrast_by: str = "attribution"
    pair_crop_at: str = "wide"
    pair_crops: int = 2
    shift_unit: str = "distance"
    finer: int = 6
    mask_curve: str = "narrowed"

    def __post_init__(self) -> None:
        """Check every value at the edge, so that nothing inside has to."""
        for name in ("images", "concepts", "starts", "iterations", "crops", "pool"):
            check(self, name, int, 1)
        _check_copies(self)
        for name in ("control_images", "pair_crops", "epochs", "picture_steps"):
            check(self, name, int, 1)
        for name in ("cut", "rate", "held_out"):
            check(self, name, float, 0.0)
        check(self, "budget", float, 1e-6)
        for name in ("cut", "held_out"):
            if getattr(self, name) >= 1:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; needed is a share below 1")
        if self.rate == 0:
            raise SettingsError("rate is 0, at which no hyperplane moves; set it above 0")
        check_steps(self.shifts)
        if unknown := set(self.tests) - set(TESTS):
            raise SettingsError(f"tests has {told(sorted(unknown)[0])}; choose of {', '.join(TESTS)}")
        for name in (
            "controls",
            "examples",
            "seed",
            "null_crops",
            "audit_nulls",
            "finer",
            *OF_NULLS,
            *OF_PLANES,
        ):
            check(self, name, int, 0)
        check(self, "tolerance", float, 0.0)
        _check_choices(self)


PAPER = {
    "starts": 1,
    "iterations": 200,
    "crop_at": "paper",
    "plane": "paper",
    "contrast_by": "plane",
    "pair_crop_at": "paper",
    "pair_crops": 1,
    "shifts": SHIFTS,
    "shift_unit": "normal",
    "finer": 0,
    "mask_curve": "whole",
}
"""What the paper and its code have in common, and the default has not."""

PRESETS = {
    "default": Settings(),
    "paper": Settings(baseline="white", relu="after", **PAPER),  # type: ignore[arg-type]
    "authors": Settings(baseline="ones", relu="before", **PAPER),  # type: ignore[arg-type]
    "fast": Settings(copies=AUTO),
    "four": Settings(concepts=4, crop_at="larger", layout="grid"),
}
"""``paper`` is the paper's words, ``authors`` its code; the default is the code's baseline with the
paper's order of mean and ReLU, an NMF that is begun more than once, and crops around the compared cells.
``fast`` is the default with as many noisy copies as it takes; ``four`` has the four crops of the paper's
second version (https://arxiv.org/abs/2502.03422v2), larger and two by two: so four name about as many
classes as six do (`docs/comparison.md`)."""


OF_STEPS = ("shifts", "shift_unit", "finer")
"""Settings of the shifting test."""

OF_PAIRS = (
    *OF_PLANES,
    *OF_STEPS,
    *("plane", "contrast_by", "pair_crop_at", "pair_crops", "mask_curve"),
    *("control_images", "epochs", "rate", "held_out", "tests", "fill", "budget"),
)
"""Settings that only matter where two classes are compared."""

OF_PICTURES = ("pictures", "picture_steps", "picture_start")
"""Settings that only matter where pictures are drawn, which no audit does."""

OF_NO_FINDING = (*OF_PAIRS, *OF_PICTURES, "null_cells", "null_scores")
"""Settings that an audit's finding of a class does not depend on."""

OF_NO_RESULT = ("tests", "budget", *OF_PICTURES, *OF_PLANES)
"""Settings that decide what is computed, and not what comes out of a test but for rounding."""


def plain(settings: Settings, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings by name, as values that JSON has."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(settings).items()
        if name not in without
    }


def seed_of(purpose: str, seed: int, identity: str) -> int:
    """A 63-bit seed for one purpose and one image, the same whatever else is computed."""
    text = f"{purpose} {seed} {identity}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def preset(name: str, **changes: Any) -> Settings:
    """The settings of a preset, with changes.

    Raises
    ------
    SettingsError
        If the preset or a setting is unknown, or a value is out of range.
    """
    if name not in PRESETS:
        raise SettingsError(f"there is no preset {told(name)}; choose one of {', '.join(PRESETS)}")
    known = {field.name for field in dataclasses.fields(Settings)}
    if unknown := sorted(set(changes) - known):
        named = ", ".join(one[:SHORT] for one in unknown)
        raise SettingsError(f"unknown setting {named}; known are {', '.join(sorted(known))}")
    return dataclasses.replace(PRESETS[name], **changes)
