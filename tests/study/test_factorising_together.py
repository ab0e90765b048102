"""Factorisations of several classes at once, as on a card, are those of one class after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from whyclass.planted import demo, world
from whyclass.records import Comparisons, Factors
from whyclass.settings import Settings
from whyclass.study import comparisons, factorising
from whyclass.study.class_evidence import evidence_of
from whyclass.study.study import Study

HERE = torch.device("cpu")
SETTINGS = Settings(images=6, copies=2, starts=2, audit_nulls=1, refits=1, fillings=2, null_crops=5)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("planted") / "pool", n_per_class=6, seed=0)


def classes(pool, store, count=3):
    context = Study(demo.loaded(), world.LAYER, pool, store, settings=SETTINGS).context()
    return [evidence_of(context, k) for k in context.classes()[:count]]


def filled(every, way):
    problems = {}
    with way as submit:
        for own in every:
            submit(own, problems)
    return problems


def test_they_are_those_of_one_after_the_other(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(factorising, "CLASSES", 2)  # the third class waits until the end
    plain, together = classes(pool, tmp_path / "a"), classes(pool, tmp_path / "b")
    assert filled(plain, factorising._here()) == filled(together, factorising._on_card(HERE)) == {}
    for mine, theirs in zip(plain, together, strict=True):
        wanted, found = (Factors.load(own.factors_file) for own in (mine, theirs))
        assert np.abs(found.concepts @ wanted.concepts.T).max(1).min() > 0.999
        counts = comparisons.of_audit(SETTINGS)
        wanted, found = (
            Comparisons.load(comparisons.comparisons_file(own, counts)) for own in (mine, theirs)
        )
        assert [one.kind for one in found.sets] == [one.kind for one in wanted.sets]
        assert [one.images for one in found.halves] == [one.images for one in wanted.halves]
        pairs = zip((*wanted.sets, *wanted.halves), (*found.sets, *found.halves), strict=True)
        for a, b in pairs:
            assert np.abs(a.concepts @ b.concepts.T).max(1).min() > 0.99


def test_what_is_there_is_not_made_again(pool, tmp_path, monkeypatch):
    every = classes(pool, tmp_path / "a", 2)
    filled(every, factorising._here())
    monkeypatch.setattr(factorising, "factorise_all", lambda given, device: [] if not given else 1 / 0)
    monkeypatch.setattr(factorising, "made_together", lambda *a: 1 / 0)
    assert filled(every, factorising._on_card(HERE)) == {}


def test_a_class_of_which_nothing_speaks_has_its_problem(pool, tmp_path):
    silent, speaking = classes(pool, tmp_path / "a", 2)
    silent.evidence.scores[...] = 0
    problems = filled([silent, speaking], factorising._on_card(HERE))
    assert list(problems) == [silent.target]
    assert speaking.factors_file.exists()
    assert not silent.factors_file.exists()
