"""The world whose answer is known: its parts, pictures, networks, and the demo."""
