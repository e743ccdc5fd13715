"""Build hook of the application's wheel: require the library of the same version, from its own wheel.

The requirement is absent from `pyproject.toml`, since a checkout and an editable install contain the library.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LibraryRequirement(BuildHookInterface):
    """Adds `cartapp-session` to the requirements of a standard wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the requirement; see `BuildHookInterface.initialize`."""
        if version == "standard":
            build_data["dependencies"].append(f"cartapp-session=={self.metadata.version}")
