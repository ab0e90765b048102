"""The explorer: a local web application over a store and its model."""
