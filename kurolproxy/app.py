"""The composition root: build every object once, start them, stop them."""
