"""Mathematics on cells: no model, no files."""
