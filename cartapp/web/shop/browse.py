"""The part of the catalogue that a query selects: a search, a category, an order, a page."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import urlencode

from cartapp.catalogue import TEXTS, Order, Selection
from cartapp.catalogue.files import MAX_CATEGORY

from ..i18n.formatter import LocaleFormatter

_MAX_TEXT = 60  # characters
_ORDERS = ("", "price", "-price")


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of the start page; invalid ones count as missing."""

    q: str = ""
    category: str = ""
    sort: str = ""

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> "Query":
        """Read the parameters of a URL."""
        q, category, sort = (
            parameters.get(name, "").replace("\0", "").strip() for name in ("q", "category", "sort")
        )
        return cls(q[:_MAX_TEXT], category[:MAX_CATEGORY], sort if sort in _ORDERS else "")

    def url(self, page: int = 1, **changes: str) -> str:
        """Return the path of a page of the catalogue, with some parameters changed."""
        parameters = {name: value for name, value in (asdict(self) | changes).items() if value}
        if page > 1:
            parameters["page"] = str(page)
        return f"/?{urlencode(parameters)}" if parameters else "/"

    def selection(self, l10n: LocaleFormatter) -> Selection:
        """Return the selection; a text is also found in the translations of the sample products."""
        text = self.q.casefold()
        texts = {one for one in TEXTS if text in l10n.product(one).casefold()} if text else set()
        return Selection(self.q, frozenset(texts), self.category, cast(Order, self.sort))
