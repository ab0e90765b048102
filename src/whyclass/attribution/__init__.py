"""How much each cell of a layer speaks for a class."""
