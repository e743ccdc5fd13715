"""Sessions in SQL databases, and the engine below them."""
