"""Every kind of file of a store flipped, cut, zeroed or swapped: the right answer or one clear error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from helpers.campaign import chance, some, tell
from helpers.planted_world import Ran, model_arguments, quick_arguments, whyclass
from whyclass.planted import world

TRIED = 20
"""Damages in every run of the tests."""


def flip(data: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def zero(data: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "flip": flip,
    "cut": lambda data, draw: data[: draw.randrange(len(data))],
    "zero": zero,
    "zero all": lambda data, draw: bytes(len(data)),
    "empty": lambda data, draw: b"",
}

KINDS = {
    "explanations/*.whyclass": "explain",
    "contrasts/*.whyclass": "contrast",
    "evidence/*.whyclass": "explain anew",
    "factors/*.whyclass": "explain anew",
    "index/*/cells.f16": "explain anew",
    "index/*/cells.f16.crc": "explain anew",
    "index/*/logits.f32": "explain anew",
    "index/*/logits.f32.crc": "explain anew",
    "index/*/meta.json": "explain anew",
    "findings/*.whyclass": "audit",
    "shifts/*.whyclass": "audit",
    "frames/*/pixels.u8": "audit anew",
    "frames/*/pixels.u8.crc": "audit anew",
    "frames/*/meta.json": "audit anew",
    "items.jsonl": "audit",
    "index/*/items.jsonl": "audit",
    "whyclass.json": "audit",
}
"""Kinds of files, and the command that reads them."""


class Bench:
    """A store with everything in it, and what the commands say of it."""

    def __init__(self, place: Path) -> None:
        pool = world.write_pool(place / "pool", 2)
        model = model_arguments(place / "model")
        several = [*model]
        several[several.index("--layer")] = "--layers"
        shared = ["--images", str(pool), "--json", "--quiet", *quick_arguments()]
        audit = ["audit", *several, "--classes", "hawk,owl,", "--tests", "prediction,shift"]
        self.commands = {
            "explain": ["explain", *model, "--class", "owl", *shared],
            "contrast": ["contrast", *model, "--class", "hawk", "--against", "owl", *shared],
            "audit": [*audit, "--workers", "1", *shared],
        }
        self.store = place / "store"
        whole = {name: self.ask(name, self.store) for name in self.commands}
        other = [*self.commands["explain"]]
        other[other.index("owl")] = "hawk"  # so that there is a like of each record
        assert whyclass(*other, "--store", self.store).code == 0
        self.right = {name: answer(ran) for name, ran in whole.items()}

    def ask(self, command: str, store: Path) -> Ran:
        return whyclass(*self.commands[command], "--store", store)


def answer(ran: Ran) -> Any:
    """What was answered, but for the time and the place."""
    assert ran.code == 0, ran
    found = json.loads(ran.out)
    if isinstance(found, dict):
        for name in ("seconds", "page"):
            found.pop(name, None)
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def spoilt(bench: Bench, store: Path, pattern: str, damage: str) -> str:
    """A copy of the store with one file damaged; the command to ask it with."""
    shutil.copytree(bench.store, store)
    command, _, anew = KINDS[pattern].partition(" ")
    if anew:  # what would be served instead of reading the file
        for kind in ("explanations", "contrasts", "findings", "shifts"):
            shutil.rmtree(store / kind)
    if pattern.startswith(("frames", "index")) and anew:
        shutil.rmtree(store / "evidence")
        shutil.rmtree(store / "factors")
    draw = chance(f"{pattern} {damage}")
    files = sorted(store.glob(pattern))
    assert files, pattern
    if damage == "swap":
        for one, other in zip(files, files[1:] + files[:1], strict=True):
            other.with_name("coming").write_bytes(one.read_bytes())
            other.with_name("coming").rename(other.with_name(f"{other.name}.new"))
        for file in files:
            file.with_name(f"{file.name}.new").replace(file)
        return command
    for file in files:
        file.write_bytes(DAMAGES[damage](file.read_bytes(), draw))
    return command


def test_a_damaged_file_gives_the_right_answer_or_one_error(bench, tmp_path):
    cases = [(kind, damage) for kind in KINDS for damage in (*DAMAGES, "swap")]
    tried = some("corruption", cases, TRIED)
    refused = 0
    for number, (pattern, damage) in enumerate(tried):
        store = tmp_path / str(number)
        command = spoilt(bench, store, pattern, damage)
        ran = bench.ask(command, store)
        if ran.code == 0:
            assert answer(ran) == bench.right[command], (pattern, damage)
            assert bench.ask(command, store).code == 0, (pattern, damage)
        else:
            assert ran.code == 1, (pattern, damage, ran)
            assert ran.json["schema"] == "whyclass/error/1", (pattern, damage)
            assert ran.err.startswith("error: "), (pattern, damage)
            assert ran.err.count("\n") == 1, (pattern, damage, ran.err)
            refused += 1
        shutil.rmtree(store)
    tell(f"files of a store damaged ({refused} refused in one line)", len(tried), len(tried))


@pytest.mark.parametrize("kind", ["explanations", "evidence", "factors", "findings"])
def test_two_records_that_changed_places_are_not_served(bench, tmp_path, kind):
    """Explained as an owl it is an owl, whatever lies where its record should."""
    store = tmp_path / "store"
    command = spoilt(bench, store, f"{kind}/*.whyclass", "swap")
    assert answer(bench.ask(command, store)) == bench.right[command]


def test_damage_to_a_finding_is_named_by_tables_and_report_and_made_anew_by_an_audit(bench, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(bench.store, store)
    file = sorted(store.glob("findings/*.whyclass"))[0]
    file.write_bytes(file.read_bytes()[:100])
    for command in ("tables", "report"):
        ran = whyclass(command, store)
        assert ran.code == 0
        assert file.name in ran.message
        assert "left out" in ran.message
    assert answer(bench.ask("audit", store)) == bench.right["audit"]
    assert "left out" not in whyclass("tables", store).message
