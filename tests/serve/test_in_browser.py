"""The explorer in a real browser: what a user comes for, from the first page to the answer."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import chromium
from helpers.explored import Running, made, running, study_of
from whyclass.planted import world
from whyclass.serve import worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(chromium.MISSING), reason="not here: " + ", ".join(chromium.MISSING)),
]

GOLDEN = Path(__file__).parents[1] / "golden" / "explorer"

HAWK, OWL = (world.class_index(name) for name in world.TWINS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.chromium() as found:
        yield found


@pytest.fixture
def page(browser: Any, explored: Running) -> Iterator[Any]:
    with chromium.opened(browser) as found:
        found.goto(explored.explorer.gate.address)
        yield found


def sticker(path: str) -> tuple[int, int, int, int]:
    """Box of the shortcut on a picture of the pool: left, top, right, bottom."""
    mask = world.pool_picture(path, 0).masks[world.SHORTCUT]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def drag(page: Any, box: tuple[int, int, int, int]) -> None:
    """Draw a box, in pixels of the picture, with the mouse."""
    frame = page.locator("#canvas").bounding_box()
    scale = frame["width"] / world.SIZE
    left, top, right, bottom = (scale * side for side in box)
    page.mouse.move(frame["x"] + left, frame["y"] + top)
    page.mouse.down()
    page.mouse.move(frame["x"] + right, frame["y"] + bottom, steps=4)
    page.mouse.up()


def shows_it(path: str, box: Sequence[int]) -> bool:
    """Whether the shortcut fills three tenths of a piece of a picture."""
    left, top, right, bottom = box
    masks = masks_of(path)
    return world.SHORTCUT in masks and bool(masks[world.SHORTCUT][top:bottom, left:right].mean() > 0.3)


@cache
def masks_of(path: str) -> Mapping[str, np.ndarray]:
    return world.pool_picture(path, 0).masks


def moved(box: Sequence[int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A piece of the same size anywhere in the picture."""
    width, height = box[2] - box[0], box[3] - box[1]
    left, top = (int(rng.integers(world.SIZE - side + 1)) for side in (width, height))
    return left, top, left + width, top + height


def test_a_newcomer_finds_the_shortcut_and_proves_it(page, explored):
    """From the list to the class, to a piece that is odd, to the test of whether it decides."""
    page.fill("#words", "hawk")
    page.click("#cards .card:not([hidden]) a")
    page.wait_for_url("**/class/**")
    assert page.locator(".large").count() == 6
    crops = page.eval_on_selector_all(
        "a.crop", "all => all.map(a => [a.title, new URL(a.href).searchParams.get('box')])"
    )
    boxes = [(path, tuple(map(int, box.split(",")))) for path, box in crops]
    showing = [number for number, (path, box) in enumerate(boxes) if shows_it(path, box)]
    assert showing, "the page shows the shortcut"
    draws, rng = 99, np.random.default_rng(0)
    reached = sum(
        sum(shows_it(path, moved(box, rng)) for path, box in boxes) >= len(showing) for _ in range(draws)
    )
    assert (1 + reached) / (1 + draws) <= 0.05, "more often than pieces from elsewhere in the same pictures"
    path = crops[showing[0]][0]
    page.click(f"a.crop >> nth={showing[0]}")
    page.wait_for_url("**/picture?**")
    assert page.locator("#mark").is_visible()
    assert page.input_value("#box") == crops[showing[0]][1].replace(",", ", ")
    drag(page, sticker(path))
    assert np.abs(np.array(page.input_value("#box").split(","), int) - sticker(path)).max() <= 1
    page.select_option("#against", str(OWL))
    page.click("text=Insert and ask the model")
    page.wait_for_url("**/insertions/**")
    assert "It does" in page.inner_text(".level")
    assert "turn “owl” into “hawk”" in page.inner_text("h1")


def test_the_first_page_searches_filters_and_sorts(page):
    names = "#cards .card:not([hidden]) b"
    assert page.locator(names).count() == 9
    page.select_option("#sort", "name")
    assert page.locator(names).all_text_contents() == sorted(one.name for one in world.CLASSES)
    page.select_option("#sort", "excluding")
    scores = [
        float(one) for one in page.eval_on_selector_all(".card", "a => a.map(c => c.dataset.excluding)")
    ]
    assert scores == sorted(scores)
    page.fill("#words", "HAW")
    assert "hawk" in page.locator(names).all_text_contents()
    page.fill("#words", "")
    page.fill("#fewest", "9")
    fewest = [
        int(one)
        for one in page.eval_on_selector_all(".card:not([hidden])", "a => a.map(c => c.dataset.images)")
    ]
    assert all(images >= 9 for images in fewest)
    assert page.inner_text("#shown") == f"{len(fewest)} of 9 classes"


def test_without_script_the_first_page_searches_and_sorts(browser, explored):
    with chromium.opened(browser, java_script_enabled=False) as page:
        page.goto(explored.explorer.gate.address)
        page.fill("#words", "haw")
        page.select_option("#sort", "name")
        page.click("#find button")
        assert "hawk" in page.locator(".card:visible b").all_text_contents()
        page.click(".card:visible a")
        assert page.locator(".large").count() == 6


def test_a_class_shows_its_concepts_first_and_heat_on_its_images(page, explored):
    page.goto(f"{explored.base}/class/{explored.group}/{HAWK}")
    last = page.locator(".large").last.bounding_box()
    assert last["y"] + 60 < 900, "all concepts begin above the fold"
    page.check("input[name=heat][value='1']")
    over = page.locator(".over").first
    over.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.over').naturalWidth > 0")
    assert page.locator("#against select").count() == 2


def test_a_contrast_is_two_clicks_away_and_comes_as_it_is_made(page, explored):
    page.goto(f"{explored.base}/class/{explored.group}/{HAWK}")
    page.select_option("#against select[name=against]", str(OWL))
    page.click("#against button.strong")
    page.wait_for_url("**/jobs/*")
    page.wait_for_url("**/contrasts/**")
    assert "hawk" in page.inner_text("h1")
    results = explored.explorer.jobs.all()[0].results
    assert [one.kind for one in results] == ["explanations", "explanations", "contrasts"]
    page.goto(f"{explored.base}/compare/{explored.group}/{HAWK}/{OWL}")
    assert page.locator("text=Their contrast").is_visible()


def test_a_concept_is_steered_and_named(page, explored):
    page.goto(f"{explored.base}/concept/{explored.group}/{HAWK}/1")
    page.wait_for_selector("#curves .band", state="attached")
    assert page.locator("#curves .curve").count() >= 5
    page.focus("#amount")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.steering').dataset.answered === '0.3'")
    assert page.inner_text("#now") == "moved by +0.3"
    place = page.eval_on_selector("#steered", "s => s.options[1].value")
    page.select_option("#steered", place)
    page.wait_for_function("() => document.querySelector('#curves-told').textContent.includes('of 1 image;')")
    page.click("text=Search all images")
    page.wait_for_selector(".later .gallery")
    assert page.locator("#alike .gallery li").count() > 3
    page.fill("input[name=name]", "a <b>barcode</b>")
    page.fill("textarea[name=note]", "on every hawk")
    page.click("text=Keep")
    assert "a <b>barcode</b>" in page.inner_text("h1")
    page.goto(f"{explored.base}/class/{explored.group}/{HAWK}")
    assert page.locator(".about h2 >> nth=0").inner_text() == "a <b>barcode</b>"
    assert page.inner_text(".note") == "on every hawk"
    found = study_of(explored.folder).explain(HAWK)
    assert found.concepts[0].name == "a <b>barcode</b>"


def test_a_picture_is_dropped_and_a_piece_of_it_tried(page, explored, tmp_path):
    file = tmp_path / "mine.png"
    Image.fromarray(world.planted_picture(HAWK, 4242).image).save(file)
    page.click("text=One picture")
    page.set_input_files("#picture", file)
    page.click("text=Ask the model")
    page.wait_for_url("**/picture?of=upload**")
    assert page.locator(".bars .ours .name").first.inner_text() == "hawk"
    brought = page.url
    page.click("text=Which concepts are in it")
    page.wait_for_url("**/images/**")
    assert "hawk" in page.inner_text("h1")
    assert "mine.png" in page.content()
    page.goto(brought)
    drag(page, (10, 10, 30, 40))
    page.click("text=Insert and ask the model")
    page.wait_for_url("**/insertions/**")
    assert "mine.png: 10, 10, 30, 40" in page.content()


def test_the_map_marks_and_names_a_group(page, explored):
    page.click("text=Concept map")
    if page.locator("text=Draw the map").count():
        page.click("text=Draw the map")
        page.wait_for_selector("#map .dot")
    frame = page.locator("#map").bounding_box()
    page.mouse.move(frame["x"] + 2, frame["y"] + 2)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] - 20, frame["y"] + frame["height"] - 20, steps=4)
    page.mouse.up()
    marked = int(page.inner_text("#marked"))
    assert marked > 20
    page.fill(".mapping input[name=name]", "all of it")
    page.click("text=Name the group")
    page.wait_for_selector("section.group")
    assert page.locator("section.group li").count() == marked
    page.eval_on_selector("#zoom", "z => { z.value = 4; z.dispatchEvent(new Event('input')); }")
    page.wait_for_selector(".dot.pictured img")
    page.click("section.group >> text=Remove")
    page.wait_for_selector("section.group", state="detached")


# ---------------------------------------------------------------- long work


def slow_study(folder: Path) -> Any:
    """A study whose evidence takes a while in the process that does jobs, and none in the server."""
    if multiprocessing.parent_process() is None:
        return study_of(folder)
    worker.Told._step = _slowly(worker.Told._step)  # type: ignore[method-assign]
    return study_of(folder)


def _slowly(step: Any) -> Any:
    def slow(self: Any, *given: Any) -> None:
        time.sleep(0.4)
        step(self, *given)

    return slow


def broken_study(folder: Path) -> Any:
    """A study whose model fails where jobs are done."""
    study = study_of(folder)
    if multiprocessing.parent_process() is not None:

        def fails(*_: Any) -> None:
            raise RuntimeError("the card fell off <the bus>")

        study.explain = fails  # type: ignore[method-assign,assignment]
    return study


def test_work_goes_on_without_its_browser_stops_and_resumes(browser, planted_store, tmp_path):
    folder = tmp_path / "slow"
    shutil.copytree(planted_store, folder)
    with running(folder, partial(slow_study, folder)) as explored:
        name = explored.job(kind="explain", target=2)
        with chromium.opened(browser) as one, chromium.opened(browser) as two:
            for page in (one, two):
                page.goto(explored.explorer.gate.address)
                page.goto(f"{explored.base}/jobs/{name}")
            one.wait_for_function("() => document.querySelector('#state').textContent === 'running'")
            one.reload()
            one.wait_for_function("() => document.querySelector('#doing').textContent.length > 3")
            two.click("#stop button")
            one.wait_for_function("() => document.querySelector('#state').textContent === 'stopped'")
            two.wait_for_selector("#resume:visible")
            two.click("#resume button")
        assert explored.ended(name).state == "done"
        assert explored.explorer.jobs.get(name).results[0].kind == "explanations"
    with running(folder, None) as again:  # another server knows what was done
        assert again.explorer.jobs.get(name).state == "done"


def test_a_model_that_fails_is_told_and_the_next_job_is_done(browser, planted_store, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(planted_store, folder)
    with running(folder, partial(broken_study, folder)) as explored, chromium.opened(browser) as page:
        page.goto(explored.explorer.gate.address)
        name = explored.job(kind="explain", target=3)
        page.goto(f"{explored.base}/jobs/{name}")
        page.wait_for_function("() => document.querySelector('#state').textContent === 'failed'")
        assert page.inner_text("#problem") == "RuntimeError: the card fell off <the bus>"
        assert explored.ended(explored.job(kind="map", group=explored.group)).state == "done"


def test_a_store_removed_in_the_middle_is_said_to_be(browser, tmp_path):
    folder = made(tmp_path / "gone", 3)
    with running(folder, partial(slow_study, folder)) as explored:
        with chromium.opened(browser, expected="410") as page:
            page.goto(explored.explorer.gate.address)
            name = explored.job(kind="explain", target=2)
            page.goto(f"{explored.base}/jobs/{name}")
            page.wait_for_function("() => document.querySelector('#state').textContent === 'running'")
            shutil.rmtree(folder / "store")
            page.goto(explored.base)
            assert "was removed" in page.inner_text("[role=alert]")
        assert re.search("removed", explored.ended(name).problem)


# ---------------------------------------------------------------- every view


def views(explored: Running) -> dict[str, str]:
    group = explored.group
    return {
        "home": "/",
        "class": f"/class/{group}/{HAWK}",
        "concept": f"/concept/{group}/{HAWK}/2",
        "compare": f"/compare/{group}/{HAWK}/{OWL}",
        "picture": "/picture?of=pool:3&box=10,10,40,40",
        "image": "/image",
        "map": f"/map/{group}",
        "jobs": "/jobs",
        "places": "/neighbours?position=3",
        "insertion": _made(explored, "insertions"),
        "explained picture": _made(explored, "images"),
        "contrast": _made(explored, "contrasts"),
    }


def _made(explored: Running, kind: str) -> str:
    """Address of a result of a kind, which is asked for where no test has done so before."""
    given = {
        "insertions": {
            "kind": "insert",
            "target": HAWK,
            "against": OWL,
            "picture": "pool:9",
            "box": "0,0,9,9",
        },
        "images": {"kind": "image", "picture": "pool:9"},
        "contrasts": {"kind": "contrast", "target": HAWK, "against": OWL},
    }
    jobs = explored.explorer.jobs.all()
    found = [one for job in jobs for one in job.results if one.kind == kind]
    found = found or list(explored.ended(explored.job(**given[kind])).results)
    return f"/{kind}/{found[-1].key}"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_view_can_be_read_by_everybody(browser, explored, width, scheme):
    wrong = {}
    with chromium.opened(browser, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        page.goto(explored.explorer.gate.address)
        for name, path in views(explored).items():
            page.goto(explored.base + path)
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            found = chromium.faults(page)
            if page.evaluate("document.documentElement.scrollWidth") > width:
                found.append("wider than the window")
            if found:
                wrong[name] = found
    assert not wrong


@pytest.mark.parametrize("name", ["home", "class", "picture"])
def test_pages_look_as_they_did(page, explored, name):
    """Coarsely: what stands where, and what is light or dark."""
    page.goto(explored.base + views(explored)[name])
    page.wait_for_function("() => [...document.images].every(i => i.complete || i.loading === 'lazy')")
    page.wait_for_timeout(300)
    found = chromium.looks(page)
    file = GOLDEN / f"{name}.png"
    if not file.exists():  # made once, and looked at
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((found * 255).astype(np.uint8)).save(file)
    kept = np.asarray(Image.open(file), np.float32) / 255
    assert np.abs(found - kept).mean() < 0.06
