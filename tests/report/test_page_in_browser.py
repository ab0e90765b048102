"""The page in a real browser: no serious fault for axe-core, no sideways scrolling, no request."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from helpers.browser import AXE, BROWSER, MISSING
from helpers.contrasts import contrast, insertion_test
from helpers.explanations import explanation
from helpers.image_explanations import image_explanation
from helpers.model_comparisons import comparison
from whyclass.records import Record
from whyclass.report.page import page

LOOK = """
const [file, browser] = process.argv.slice(1);
const {chromium} = require('playwright-core');
const axe = require('fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
(async () => {
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'];
  const started = await chromium.launch({executablePath: browser, args});
  const seen = [];
  for (const width of [1280, 390]) for (const colorScheme of ['light', 'dark']) {
    const context = await started.newContext({viewport: {width, height: 900}, colorScheme});
    const page = await context.newPage();
    const asked = [], said = [];
    page.on('request', r => r.url().startsWith('data:') || asked.push(r.url()));
    page.on('console', m => said.push(m.text()));
    await page.goto('file://' + file);
    await page.evaluate(() => document.querySelectorAll('details').forEach(d => { d.open = true; }));
    const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
    const broken = await page.evaluate(() => [...document.images].filter(i => !i.naturalWidth).length);
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run());
    const faults = found.violations.map(v => `${v.impact} ${v.id}: ${v.nodes[0].html.slice(0, 200)}`);
    seen.push({width, scroll, broken, asked: asked.length, said, faults});
    await context.close();
  }
  await started.close();
  console.log(JSON.stringify(seen));
})();
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason="not here: " + ", ".join(MISSING))
@pytest.mark.parametrize(
    "made",
    [
        *(explanation(case) for case in ("both", "second fails", "hostile")),
        *(contrast(case) for case in ("passed", "bare", "hostile")),
        insertion_test("hostile"),
        *(comparison(case) for case in ("changed", "hostile")),
        *(image_explanation(case) for case in ("mistaken", "alone", "hostile")),
    ],
    ids=lambda made: type(made).__name__,
)
def test_page_in_browser(made: Record, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(made), encoding="utf-8")
    command = ["node", "-e", LOOK, str(file), BROWSER]
    run = subprocess.run(command, cwd=AXE, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    for seen in json.loads(run.stdout):
        assert seen["scroll"] <= seen["width"]
        assert (seen["broken"], seen["asked"], seen["said"], seen["faults"]) == (0, 1, [], [])
