"""Translations and locale formats of money, numbers and times."""
