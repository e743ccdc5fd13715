"""An empty working directory without any setting, for tests of settings and commands."""

import os
from pathlib import Path

import pytest

from cartapp.settings import SettingsError, load


def is_setting(name: str) -> bool:
    return name == "DATABASE_URL" or (name.startswith("CART_") and not name.startswith("CART_TEST_"))


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the folder the working directory and take all settings out of the environment."""
    for name in list(os.environ):
        if is_setting(name):
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)


def names() -> list[str]:
    """What is in the working directory."""
    return sorted(path.name for path in Path().iterdir())


def refused(**variables: str) -> str:
    """The one sentence with which these variables are refused."""
    with pytest.raises(SettingsError) as refusal:
        load(variables)
    (sentence,) = refusal.value.sentences
    return sentence
