"""Build wheel and sdist, check both, and run the demonstration from the wheel in a bare environment.

The environment holds the wheel alone; its dependencies are looked up where this Python has them, so that
no gigabytes are downloaded, and nothing of this folder is reached. ``--no-demo`` leaves the demonstration
out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"

NEEDED = (
    "whyclass/py.typed",
    "whyclass/planted/net.safetensors",
    "whyclass/report/json_schemas/explanation.json",
    "whyclass/models/imagenet_wnids.txt",
)
"""Files that are no code, without which something would fail."""

FOREIGN = ("tests/", "benchmarks/", "__pycache__", ".toml")
"""What has no place in a wheel."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Standard output of a command that has to succeed; nothing of this environment's paths is passed on."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def built() -> tuple[Path, Path]:
    """The wheel and the sdist, made anew and checked."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    print(run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist).strip())
    return wheel, sdist


def check_contents(wheel: Path, sdist: Path) -> None:
    """What is needed is there, and what is foreign is not."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in NEEDED if name not in names]
    foreign = [name for name in names for part in FOREIGN if part in name]
    assert not missing, f"the wheel lacks {missing}"
    assert not foreign, f"the wheel holds {foreign}"
    with tarfile.open(sdist) as opened:
        inside = {one.name.partition("/")[2] for one in opened.getmembers() if one.isfile()}
    assert {"pyproject.toml", "README.md", "CITATION.cff", "tests/test_house.py"} <= inside
    if (ROOT / ".git").exists():
        stray = inside - {"PKG-INFO", *run("git", "ls-files").splitlines()}
        assert not stray, f"the sdist holds what is not under version control: {sorted(stray)}"
    print(
        f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB; {sdist.name}: {len(inside)}"
    )


def installed(folder: Path, wheel: Path) -> Path:
    """The folder of programs of an environment that holds the wheel alone."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    run(programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    place = Path(
        run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    # a path in a .pth file is searched last, and .pth files within it (such as an editable install's) are not
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def main() -> None:
    """Build, check, install, run."""
    wheel, sdist = built()
    check_contents(wheel, sdist)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        programs = installed(folder / "bare", wheel)
        where = run(
            programs / "python", "-c", "import whyclass; print(whyclass.__file__)", cwd=folder
        ).strip()
        assert Path(where).is_relative_to(folder.resolve()), f"{where} is not of the wheel"
        said = run(programs / "whyclass", "--version", cwd=folder).strip()
        wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        assert said == wanted, f"the wheel says version {said}, pyproject.toml {wanted}"
        if "--no-demo" not in sys.argv:
            found = json.loads(run(programs / "whyclass", "demo", "--json", "--quiet", cwd=folder))
            assert (folder / found["pages"]["hawk"]).is_file()
            parts = f"{found['found']} of {found['planted']} parts"
            print(f"demo from the wheel: {parts} in {found['seconds']:.0f} s")


if __name__ == "__main__":
    main()
