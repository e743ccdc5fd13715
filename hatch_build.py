"""Build hooks of the application's distributions: its README, and the library as a requirement of the wheel.

The requirement is absent from `pyproject.toml`, since a checkout and an editable install contain the library.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

IMAGE = re.compile(r"!\[[^\]]*\]\((?!https?://)[^)]*\)|<img src=\"(?!https?://)[^>]*>")
LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|#)[^)]*\)")


class LibraryRequirement(BuildHookInterface):
    """Adds `cartapp-session` to the requirements of a standard wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the requirement; see `BuildHookInterface.initialize`."""
        if version == "standard":
            build_data["dependencies"].append(f"cartapp-session=={self.metadata.version}")


class PublishedReadme(MetadataHookInterface):
    """Publishes the README without links and images of the checkout: an index page cannot resolve them."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the README; see `MetadataHookInterface.update`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_relative_links(text)}


def without_relative_links(text: str) -> str:
    """Replace relative links by their text, and remove relative images."""
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", LINK.sub(r"\1", IMAGE.sub("", text)), flags=re.M))
