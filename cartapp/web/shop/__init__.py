"""The cart, preferences and pages of the shop."""
