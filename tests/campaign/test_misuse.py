"""Whatever is wrong with what was asked is said in one line, with exit code 1 or 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.campaign import chance, some, tell
from helpers.planted_world import Ran, model_arguments, quick_arguments, whyclass
from whyclass.planted import world

DIGITS = "9" * 5000

WRONG_SETTINGS = {
    "images": ("0", "-1", "1e3", DIGITS, "", "99999999", "nan"),
    "concepts": ("999999", "0", "-6", DIGITS),
    "copies": ("0", "999999999"),
    "starts": ("0", "1000000"),
    "noise": ("-1", "nan", "inf", "1e300"),
    "cut": ("1", "-0.5", "nan"),
    "rate": ("1e300", "0", "nan", "-1"),
    "tolerance": ("-1", "2", "nan"),
    "shifts": ("1,2", "", "0", "0,1e300", "0,nan", "0,x"),
    "tests": ("nothing", "shifting,x"),
    "seed": ("-1", DIGITS, "1.5"),
    "budget": ("0", "-1", "inf", "1e-300"),
    "held_out": ("1", "-1"),
    "pool": ("0", "99999999"),
    "crops": ("0", "99999999"),
    "controls": ("-1", "99999999"),
    "examples": ("-1",),
    "epochs": ("0",),
    "baseline": ("black", ""),
    "layout": ("x" * 5000,),
    "precision": ("int8",),
    "nothing": ("1",),
    "": ("1",),
}

WRONG_OPTIONS = {
    "--seed": ("-1", DIGITS, "x", ""),
    "--crop": ("100000", "0", "-5", DIGITS, "x"),
    "--resize": ("0", "-1", "x"),
    "--mean": ("", "x", "nan", "0.5,0.5", "1e300"),
    "--std": ("1e-300", "0", "inf", "", ","),
    "--class": ("", DIGITS, "-1", "9", "1.5", "haw", "\x00"),
    "--layer": ("", "nowhere", ".", "stage3..0", "\x00"),
    "--model": (
        "",
        ":",
        "torchvision:",
        "torchvision:nothing",
        "nowhere.py:net",
        "timm:",
        "smp:x",
        "x" * 5000,
    ),
    "--weights": ("nowhere.safetensors", "", "/", "/dev/null", "x" * 5000),
    "--class-names": ("nowhere.txt", "", "/dev/null", "/"),
    "--images": ("nowhere", "/dev/null", "x" * 5000, "\x00"),
    "--store": ("/dev/null", "/dev/null/x", "/proc/x", "\x00"),
    "--page": ("", ".", "/", "/dev/null/x.html", "x" * 5000),
    "--preset": ("", "papper"),
    "--precision": ("", "float64"),
    "--device": ("", "cuda:99", "tpu"),
    "--pictures": ("", "oil"),
    "--decoder": ("x.py:y", ""),
    "--nothing": ("1",),
}

OTHERS: tuple[tuple[str, ...], ...] = (
    ("audit", "--layers", ""),
    ("audit", "--layers", ","),
    ("audit", "--layers", "nowhere"),
    ("audit", "--tests", ""),
    ("audit", "--tests", "x"),
    ("audit", "--workers", "0"),
    ("audit", "--workers", "-3"),
    ("audit", "--part", "0/0"),
    ("audit", "--part", "3/2"),
    ("audit", "--part", DIGITS + "/1"),
    ("audit", "--part", "a/b/c"),
    ("audit", "--pairs", "some"),
    ("audit", "--budget", "lots"),
    ("audit", "--budget", "0"),
    ("audit", "--budget", "nan"),
    ("audit", "--classes", "hawk,nobody"),
    ("audit", "--classes", ""),
    ("audit", "--classes", DIGITS),
    ("audit", "--classes", "hawk", "--tests", "shift"),
    ("contrast", "--class", "hawk", "--against", "hawk"),
    ("contrast", "--class", "hawk", "--against", ""),
    ("insert", "--class", "hawk", "--against", "owl", "--patch", ""),
    ("insert", "--class", "hawk", "--against", "owl", "--patch", "/dev/null"),
    ("insert", "--class", "hawk", "--against", "owl", "--patch", "x.png:1,2"),
    ("insert", "--class", "hawk", "--against", "owl", "--patch", "x.png:" + DIGITS + ",1,1,1"),
    ("pairs", "--class", "hawk"),
    ("pairs", "--class", "hawk", "--class", "hawk"),
    ("layers", "--choose", "--layers", ""),
    ("layers", "--choose", "--classes", ""),
    ("layers", "--choose", "--classes", DIGITS),
    ("layers", "--choose", "--concepts", "x"),
    ("layers", "--choose", "--concepts", "999999"),
    ("layers", "--choose", "--sample", "0"),
)

ALONE: tuple[tuple[str, ...], ...] = (
    ("tables", "nowhere"),
    ("tables", "x" * 5000),
    ("tables", "\x00"),
    ("tables", "/dev/null"),
    ("report", "nowhere"),
    ("report", ""),
    ("merge", "nowhere", "nowhere"),
    ("merge", "nowhere"),
    ("layers",),
    ("layers", "torchvision:nothing"),
    ("layers", "torchvision:resnet18", "--sample", "3"),
    ("demo", "--seed", "-1"),
    ("demo", "--seed", DIGITS),
    ("demo", "--store", "/dev/null/x"),
    ("explain",),
    ("nothing",),
    ("--nothing",),
)


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 1)
    return [*model_arguments(place / "model"), "--images", str(pool), *quick_arguments()]


def refused(ran: Ran, asked: object) -> None:
    assert ran.code in (1, 2), (asked, ran)
    assert ran.out == "", (asked, ran.out)
    assert "Traceback" not in ran.err, asked
    if ran.code == 1:
        lines = [line for line in ran.err.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 1, (asked, ran.err)
        assert lines[0].startswith("error: "), (asked, ran.err)
        assert len(lines[0]) < 12000, asked


def changed(given: list[str], *options: str) -> list[str]:
    """The options with others in place of those of the same names."""
    found = [*given]
    for name, value in zip(options[::2], options[1::2], strict=True):
        while name in found and name not in ("--set", "--class"):
            del found[found.index(name) : found.index(name) + 2]
        found += [name, value]
    return found


def test_wrong_settings(given, tmp_path):
    cases = [f"{name}={value}" for name, values in WRONG_SETTINGS.items() for value in values]
    for case in cases:
        asked = [*given, "--store", str(tmp_path / "s"), "--class", "hawk", "--set", case]
        refused(whyclass("explain", *asked), case)
    assert not (tmp_path / "s").exists()
    tell("wrong settings", len(cases), len(cases))


def test_wrong_options(given, tmp_path):
    base = [*given, "--store", str(tmp_path / "s"), "--class", "hawk"]
    cases = [(name, value) for name, values in WRONG_OPTIONS.items() for value in values]
    for name, value in cases:
        asked = changed(base, name, value)
        if name == "--class":
            asked = changed([*given, "--store", str(tmp_path / "s")], name, value)
        refused(whyclass("explain", *asked), (name, value))
    tell("wrong options", len(cases), len(cases))


def test_wrong_options_of_other_commands(given, tmp_path):
    for command, *options in OTHERS:
        base = [*given, "--store", str(tmp_path / "s")]
        if command in ("audit", "layers"):
            at = base.index("--layer")
            layer = base[at + 1]
            del base[at : at + 2]
            base += ["--layers", layer] if command == "audit" else []
        head = [command, "--choose"] if command == "layers" else [command]
        rest = [one for one in options if one != "--choose"]
        refused(whyclass(*head, *changed(base, *rest)), (command, options))
    tell("wrong options of audit, contrast, insert, pairs and layers", len(OTHERS), len(OTHERS))


def test_commands_of_nothing():
    for case in ALONE:
        refused(whyclass(*case), case)
    tell("commands of nothing that is there", len(ALONE), len(ALONE))


def test_two_wrong_things_at_once(given, tmp_path):
    """Whichever is told, it is told in one line."""
    one = [("--set", f"{name}={value}") for name, values in WRONG_SETTINGS.items() for value in values]
    two = [(name, value) for name, values in WRONG_OPTIONS.items() for value in values if name != "--class"]
    draw = chance("misuse")
    pairs = some("misuse", [(*a, *draw.choice(two)) for a in one], 30)
    for pair in pairs:
        base = [*given, "--store", str(tmp_path / "s"), "--class", "hawk"]
        refused(whyclass("explain", *changed(base, *pair)), pair)
    tell("two wrong things at once", len(pairs), len(pairs))


# ---------------------------------------------------------------- where it is printed


def command(store: Path, *arguments: str, **streams: object) -> subprocess.CompletedProcess:
    asked = [sys.executable, "-c", "from whyclass.cli.main import main; main()", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": str(streams.pop("encoding", "utf-8"))}
    return subprocess.run(asked, stderr=subprocess.PIPE, env=environment, timeout=120, **streams)


@pytest.fixture(scope="module")
def finished(given, tmp_path_factory) -> list[str]:
    """An explanation that is in its store, of a class that no old encoding knows."""
    place = tmp_path_factory.mktemp("done")
    names = place / "names.txt"
    names.write_text("\n".join([f"日本 {n}" for n in range(9)]), encoding="utf-8")
    asked = [
        "explain",
        *changed(given, "--class-names", str(names)),
        "--store",
        str(place / "s"),
        "--class",
        "1",
    ]
    assert whyclass(*asked).code == 0
    return asked


@pytest.mark.parametrize("encoding", some("encodings", ["ascii", "latin-1", "cp1252", "utf-16"], 1))
def test_a_terminal_of_another_encoding_is_told_what_it_can_show(finished, encoding, tmp_path):
    ran = command(tmp_path, *finished, encoding=encoding, stdout=subprocess.PIPE)
    assert ran.returncode == 0, ran.stderr
    assert b"Traceback" not in ran.stderr
    told = ran.stdout.decode(encoding)
    assert "日本 1" in told or "\\u65e5\\u672c 1" in told
    tell(f"printed in {encoding}", 1, 1)


@pytest.mark.parametrize("form", some("full", [[], ["--json"]], 1), ids=" ".join)
def test_a_full_device_is_an_error(finished, form, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        ran = command(tmp_path, *finished, *form, "--quiet", stdout=full)  # a slow run tells its progress
    assert ran.returncode == 1
    (line,) = ran.stderr.decode().splitlines()
    assert line.startswith("error: standard output cannot be written: No space left on device; what was")
    tell("printed to a full device", 1, 1)
