"""Names of form fields and browsers on the pages."""

from collections.abc import Mapping

from cartapp.messages import _

FIELDS: Mapping[str, str] = {
    "name": _("Name"),
    "email": _("Email"),
    "password": _("Password"),
    "current_password": _("Current password"),
    "new_password": _("New password"),
    "remember_me": _("Remember me"),
    "language": _("Language"),
    "theme": _("Theme"),
    "items_per_page": _("Products per page"),
    "quantity": _("Quantity"),
    "product_id": _("Product"),
}
"""Labels of form fields."""

BROWSER = _("{browser} on {system}")
UNKNOWN_BROWSER = _("Unknown browser")
