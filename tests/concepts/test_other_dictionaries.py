"""Directions of other methods, against their own code or a slow plain version."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF

from helpers.published_craft import published
from whyclass import Settings
from whyclass.concepts import other_dictionaries, segments
from whyclass.concepts.reconstruction import cells_of
from whyclass.errors import AttributionError
from whyclass.planted import nets, world
from whyclass.settings import seed_of
from whyclass.study.concept_methods import crops_of

SETTINGS = Settings(concepts=4)


@pytest.fixture(scope="module")
def pictures():
    """Pictures of one class of the planted world (12, 3, 96, 96)."""
    index = world.class_index("snail")
    return nets.as_input([world.planted_picture(index, seed).image for seed in range(12)])


@pytest.fixture(scope="module")
def trunk():
    net = nets.planted_net()
    return torch.nn.Sequential(net.stage1, net.stage2, net.stage3)


@pytest.fixture(scope="module")
def activations(pictures, trunk):
    with torch.no_grad():
        return trunk(pictures).numpy()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same_set(found, wanted, least=0.999):
    """Each of the wanted directions is found."""
    assert len(found) == len(wanted)
    assert (unit(found) @ unit(wanted).T).max(0).min() > least


def test_ice_is_its_reducer(activations):
    # ChannelReducer: the map's cells as rows, sklearn's NMF as it comes
    reducer = NMF(n_components=4)
    reducer.fit(np.moveaxis(activations, 1, -1).reshape(-1, activations.shape[1]))
    found = other_dictionaries.nmf_of_cells(activations, SETTINGS)
    same_set(found.concepts, reducer.components_)


@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")
def test_craft_is_the_published_code(pictures, trunk, activations):
    module = published("craft.craft_torch")
    craft = module.Craft(
        input_to_latent=lambda x: trunk(x).permute(0, 2, 3, 1).mean((1, 2)),
        number_of_concepts=4,
        patch_size=27,
        device="cpu",
    )
    patches, _, W = craft.fit(pictures)
    with torch.no_grad():
        crops = torch.cat([crops_of(image) for image in pictures])
        pooled = trunk(crops).mean((2, 3)).numpy()
    enlarged = torch.nn.functional.interpolate(patches, size=96, mode="bilinear", align_corners=False)
    assert torch.equal(crops, enlarged)
    found = other_dictionaries.nmf_of_crops(pooled, activations, SETTINGS)
    same_set(found.concepts, W)


def test_centres_of_cells_are_the_means_of_the_cells_nearest_to_them(activations):
    centres, labels = other_dictionaries._clustered(cells_of(activations), 4, 0)
    X = cells_of(activations)
    for x, label in zip(X[::37], labels[::37], strict=True):
        assert label == min(range(4), key=lambda k: ((x - centres[k]) ** 2).sum())
    for k in range(4):
        assert centres[k] == pytest.approx(
            np.mean([x for x, own in zip(X, labels, strict=True) if own == k], 0), abs=1e-3
        )
    same_set(other_dictionaries.clusters_of_cells(activations, SETTINGS).concepts, centres, 0.99999)


def test_centres_of_scored_cells_are_of_those_that_speak_and_know_no_others(activations, rng):
    scores = rng.standard_normal((len(activations), *activations.shape[2:])).astype(np.float32)
    found = other_dictionaries.clusters_of_scored_cells(activations, scores, SETTINGS)
    cells, seed = cells_of(activations).astype(np.float64), seed_of("clusters", SETTINGS.seed, "") % 2**32
    kept = [(x, s) for x, s in zip(cells, scores.reshape(-1), strict=True) if s > 0 and x.any()]
    units = np.stack([x / np.linalg.norm(x) for x, _ in kept])
    weights = np.array([s * np.linalg.norm(x) for x, s in kept])
    plain = KMeans(4, n_init=SETTINGS.starts, random_state=seed).fit(units, sample_weight=weights)
    same_set(found.concepts, plain.cluster_centers_, 0.9999)
    assert (found.embeddings.reshape(-1, 4)[scores.reshape(-1) <= 0] == 0).all()
    moved = np.where(scores[:, None] > 0, activations, 7).astype(np.float32)
    again = other_dictionaries.clusters_of_scored_cells(moved, scores, SETTINGS)
    assert (found.concepts == again.concepts).all()


def test_where_no_cell_speaks_there_are_no_centres(activations):
    scores = -np.ones((len(activations), *activations.shape[2:]), np.float32)
    with pytest.raises(AttributionError, match="nothing at this layer speaks for the class"):
        other_dictionaries.clusters_of_scored_cells(activations, scores, SETTINGS)


def test_principal_axes_are_singular_vectors(activations):
    _, _, V = np.linalg.svd(cells_of(activations).astype(np.float64), full_matrices=False)
    found = other_dictionaries.principal_axes(activations, SETTINGS)
    assert np.abs(found.concepts @ V[:4].T).max(0).min() > 0.9999
    assert found.concepts @ found.concepts.T == pytest.approx(np.eye(4), abs=1e-5)
    assert (found.embeddings < 0).any()
    rest = other_dictionaries.nmf_of_cells(activations, SETTINGS)
    assert found.residual < rest.residual


def test_principal_axes_are_no_more_than_the_cells_span():
    A = np.zeros((2, 5, 2, 2), np.float32)
    A[:, 1] = 1
    assert len(other_dictionaries.principal_axes(A, SETTINGS).concepts) == 1


def test_cells_are_pooled_within_segments(rng):
    pytest.importorskip("skimage", reason="scikit-image is not installed (extra compare)")
    picture = np.zeros((40, 60, 3))
    picture[:20, :30], picture[20:, 30:] = (1, 0, 0), (0, 0, 1)
    weights = segments.segment_weights(picture, (4, 6))
    assert weights.sum(1) == pytest.approx(1)
    own = rng.random((3, 4, 6))
    found = segments.pooled(own, weights)
    for weight, row in zip(weights, found, strict=True):
        cells = weight.reshape(4, 6)
        assert row == pytest.approx(
            [sum(cells[i, j] * own[c, i, j] for i in range(4) for j in range(6)) for c in range(3)]
        )
    # superpixels follow the picture: some lie within one of its four rectangles alone
    red = weights.reshape(-1, 4, 6)[:, :2, :3].sum((1, 2))
    assert (red > 0.99).any()
    assert (red < 0.01).any()


def test_segments_that_overlap_are_taken_once():
    masks = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0] * 6], bool)
    assert segments._distinct(masks).tolist() == masks[[0, 2]].tolist()


def test_clusters_of_segments_are_ranked_by_the_images_they_are_in(activations, rng):
    common, rare = np.array([1.0, 0, 0, 0]), np.array([0, 0, 1.0, 0])
    own = [np.stack([common + 0.01 * rng.random(4), common]) for _ in range(5)]
    own[0] = np.concatenate([own[0], [rare] * 7])
    A = rng.random((5, 4, 2, 2)).astype(np.float32)
    found = other_dictionaries.clusters_of_segments(own, A, Settings(concepts=1))
    assert found.concepts[0, 0] > 0.99


def test_random_cells_are_cells_of_the_images(activations):
    found = other_dictionaries.random_cells(activations, SETTINGS, "7")
    cells = cells_of(activations)
    cells = unit(cells[np.linalg.norm(cells, axis=1) > 0])
    assert (found.concepts @ cells.T).max(1) == pytest.approx(1, abs=1e-5)
    other = other_dictionaries.random_cells(activations, SETTINGS, "8")
    assert not np.allclose(found.concepts, other.concepts)


def test_permuted_concepts_hold_the_same_numbers_elsewhere(activations):
    concepts = other_dictionaries.nmf_of_cells(activations, SETTINGS).concepts
    found = other_dictionaries.permuted(concepts, activations, SETTINGS, "7").concepts
    as_sorted = {tuple(np.sort(row).round(5)) for row in concepts}
    assert {tuple(np.sort(row).round(5)) for row in found} == as_sorted
    assert not np.allclose(found, concepts)


def test_of_many_directions_those_with_the_largest_share_are_taken(activations, rng):
    rows = rng.standard_normal((9, activations.shape[1]))
    scores = rng.random((len(activations), *activations.shape[2:]))
    held = [
        sum(
            s * max(0, float(x @ row) / np.linalg.norm(row))
            for x, s in zip(cells_of(activations), scores.reshape(-1), strict=True)
        )
        for row in rows
    ]
    found = other_dictionaries.largest_of(rows, activations, scores, SETTINGS)
    same_set(found.concepts, rows[np.argsort(held)[-4:]], 0.99999)


def test_images_without_any_activation_are_refused():
    A = np.zeros((2, 5, 2, 2), np.float32)
    for find in (
        lambda: other_dictionaries.random_cells(A, SETTINGS, ""),
        lambda: other_dictionaries.clusters_of_cells(A, SETTINGS),
    ):
        with pytest.raises(AttributionError, match="zero at this layer"):
            find()
