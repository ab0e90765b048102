"""Records as an HTML page, as a notebook's display and as text; it computes nothing and writes no file."""

from whyclass.report.page import fragment, page
from whyclass.report.text import Verdict, rows, summary, verdict

__all__ = ["Verdict", "fragment", "page", "rows", "summary", "verdict"]
