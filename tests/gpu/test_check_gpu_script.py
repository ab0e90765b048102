"""The check for a graphics card runs on the processor too, on the planted world, and says what it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = {"seconds", "completeness", "least cosine", "same crops", "same predictions", "same verdicts"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The whole script, without its tests."""
    out = tmp_path_factory.mktemp("gpu") / "found.json"
    arguments = [out, "--device", "cpu", "--small", "--stages", "facts,planted"]
    command = ["bash", ROOT / "scripts/check_gpu.sh", *map(str, arguments)]
    given = os.environ | {"PYTHON": sys.executable, "SKIP_TESTS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    return done, json.loads(out.read_text())


def test_every_stage_ends_well(ran):
    done, found = ran
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(found["stages"]) == ["facts", "planted"]
    assert not [stage["error"] for stage in found["stages"].values() if "error" in stage]
    assert all(stage["seconds"] > 0 for stage in found["stages"].values())
    assert "planted: done after" in done.stdout


def test_the_facts_are_those_of_this_run(ran):
    facts = ran[1]["stages"]["facts"]["result"]
    assert facts["device"] == "cpu"
    assert set(facts["peak FLOP/s"]) == {"float32", "tf32", "bfloat16"}
    assert min(facts["peak FLOP/s"].values()) > 0
    assert facts["libraries"]["whyclass"]


def test_the_processor_agrees_with_itself(ran):
    planted = ran[1]["stages"]["planted"]["result"]
    assert set(planted["tf32 off"]) >= NEEDED
    assert planted["tf32 off"]["same crops"] == 1
    assert planted["tf32 off"]["least cosine"] == pytest.approx(1, abs=1e-5)
    assert {"audit", "contrast", "auto"} <= set(planted)
    assert len(ran[1]["checks"]) >= 6
    assert all(check["passed"] for check in ran[1]["checks"])


def test_a_stage_that_fails_leaves_its_traceback_and_the_others_run(tmp_path):
    out = tmp_path / "found.json"
    arguments = ["--device", "cpu", "--small", "--weights", str(tmp_path / "none"), "--out", str(out)]
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), *arguments, "--stages", "host,facts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(out.read_text())
    assert done.returncode == 1
    assert "Traceback" in found["stages"]["host"]["error"]
    assert found["stages"]["facts"]["result"]["device"] == "cpu"
