"""What a real browser needs, and what of it is missing here."""

from __future__ import annotations

import os
import shutil

AXE = os.environ.get("WHYCLASS_AXE", "")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
MISSING = [
    what
    for what, there in (
        ("WHYCLASS_AXE (a folder with axe-core and playwright-core in node_modules)", AXE),
        ("node", shutil.which("node")),
        ("chromium", BROWSER),
    )
    if not there
]
