"""The site of an audit in a real browser: it sorts, searches, loads only its own files, and has no fault."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from helpers.browser import AXE, BROWSER, MISSING
from helpers.planted_world import NAMES, quick
from whyclass import files as filess
from whyclass.planted import demo, world
from whyclass.report import audits_in_store, site
from whyclass.store import find_store
from whyclass.study.study import Study

LOOK = """
const [folder, browser, ...files] = process.argv.slice(1);
const {chromium} = require('playwright-core');
const axe = require('fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const column = page =>
  page.$$eval('#classes tbody tr:not([hidden]) th', cells => cells.map(c => c.textContent.trim()));
(async () => {
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'];
  const started = await chromium.launch({executablePath: browser, args});
  const seen = [];
  for (const file of files) for (const width of [1280, 390]) for (const colorScheme of ['light', 'dark']) {
    const context = await started.newContext({viewport: {width, height: 900}, colorScheme});
    const page = await context.newPage();
    const asked = [], said = [];
    page.on('request', r => asked.push(r.url()));
    page.on('console', m => said.push(m.text()));
    await page.goto('file://' + folder + '/' + file);
    await page.evaluate(() => document.querySelectorAll('details').forEach(d => { d.open = true; }));
    for (let y = 0; y < 6000; y += 600) { await page.mouse.wheel(0, 600); await page.waitForTimeout(30); }
    const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
    const broken = await page.evaluate(
      () => [...document.images].filter(i => i.complete && i.offsetParent && !i.naturalWidth).length);
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run());
    const faults = found.violations.map(v => `${v.impact} ${v.id}: ${v.nodes[0].html.slice(0, 200)}`);
    const outside = asked.filter(url => !url.startsWith('file://' + folder) && !url.startsWith('data:'));
    seen.push({file, width, scroll, broken, outside, said, faults});
    if (file.endsWith('/index.html') && width === 1280) {
      const last = seen[seen.length - 1];
      last.first = await column(page);
      await page.click('#classes th:first-child button');
      last.rising = await column(page);
      await page.click('#classes th:first-child button');
      last.falling = await column(page);
      await page.click('#classes th:nth-child(3) button');
      const cells = '#classes tbody td:nth-child(3)';
      last.scores = await page.$$eval(cells, all => all.map(x => Number(x.dataset.value)));
      await page.fill('#words', 'HAW');
      last.searched = await column(page);
      last.told = await page.textContent('#shown');
    }
    await context.close();
  }
  await started.close();
  console.log(JSON.stringify(seen));
})();
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason="not here: " + ", ".join(MISSING))
def test_site_in_browser(tmp_path: Path) -> None:
    pool = world.write_pool(tmp_path / "pool", 3)
    store = tmp_path / "store"
    Study(demo.loaded(), world.LAYER, pool, store, quick(controls=20, null_crops=20)).audit(
        tests=("prediction", "shift")
    )
    folder = tmp_path / "site"
    for name, content in site.files(find_store(store), audits_in_store.collect(find_store(store))):
        filess.write(folder / name, content)
    files = ["index.html", "stage3/index.html", "stage3/1-hawk.html"]
    command = ["node", "-e", LOOK, str(folder), BROWSER, *files]
    run = subprocess.run(command, cwd=AXE, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    for seen in json.loads(run.stdout):
        assert seen["scroll"] <= seen["width"], seen
        assert (seen["broken"], seen["outside"], seen["said"], seen["faults"]) == (0, [], [], []), seen
        if "rising" in seen:
            assert sorted(seen["first"]) == sorted(NAMES)
            assert seen["rising"] == sorted(NAMES)
            assert seen["falling"] == sorted(NAMES, reverse=True)
            assert seen["scores"] == sorted(seen["scores"])
            assert (seen["searched"], seen["told"]) == (["hawk"], f"1 of {len(NAMES)} classes")
