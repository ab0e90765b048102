"""Records as an HTML page, as a notebook's display and as text; it computes nothing and writes no file."""

from whyclass.report import choice, contrasts, objects, pairs, site, tabular
from whyclass.report.contrasts import repair_line
from whyclass.report.objects import as_object, audits_as_object
from whyclass.report.page import fragment, page
from whyclass.report.summaries import rows, summary
from whyclass.report.text import Verdict, verdict

__all__ = [
    "Verdict",
    "as_object",
    "audits_as_object",
    "choice",
    "contrasts",
    "fragment",
    "objects",
    "page",
    "pairs",
    "repair_line",
    "rows",
    "site",
    "summary",
    "tabular",
    "verdict",
]
