"""Records as pages, sites, notebook displays, text and tables; no torch."""
