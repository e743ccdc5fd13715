"""An empty working directory and an environment without settings, for tests of settings and commands."""

import os
from pathlib import Path

import pytest

from cartapp.settings import SettingsError, load


def is_setting(name: str) -> bool:
    return name == "DATABASE_URL" or (name.startswith("CART_") and not name.startswith("CART_TEST_"))


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with these settings and no others, for another process."""
    others = {name: value for name, value in os.environ.items() if not is_setting(name)}
    return {**others, **settings}


def isolate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the folder the working directory and remove all settings from the environment."""
    for name in list(os.environ):
        if is_setting(name):
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder)


def list_folder() -> list[str]:
    """Return the names in the working directory."""
    return sorted(path.name for path in Path().iterdir())


def settings_error(**variables: str) -> str:
    """Return the sentence with which these settings are rejected."""
    with pytest.raises(SettingsError) as refusal:
        load(variables)
    (sentence,) = refusal.value.messages
    return sentence
