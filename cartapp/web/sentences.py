"""Every sentence that the shop says to people beside what stands in the templates, for the translators.

The API, the flashes in a session and the layers below speak English and know of no other language. A page
recognises their finished sentences here and says them in its own.
"""

import re
from collections.abc import Mapping


def _(text: str) -> str:
    """Mark a text for extraction."""
    return text


LABELS: Mapping[str, str] = {
    "name": _("Name"),
    "email": _("Email"),
    "password": _("Password"),
    "current_password": _("Current password"),
    "new_password": _("New password"),
    "remember_me": _("Remember me"),
    "language": _("Language"),
    "theme": _("Theme"),
    "items_per_page": _("Products on a page"),
    "quantity": _("Quantity"),
    "product_id": _("Product"),
}
"""What the fields of forms are called."""

SENTENCES = (
    # flashes
    _("Added to your cart: {product}"),
    _("Your cart was changed"),
    _("Your cart is empty"),
    _("Removed"),
    _("No longer sold, and no longer in your cart: {number} products"),
    _("No longer sold, and no longer in your cart: {product}"),
    _("The price has changed: {number} products"),
    _("The price has changed: {product}"),
    _("This form was sent twice; it was carried out once"),
    _("Your earlier session has ended, so this is a new cart"),
    _("Your earlier session has ended"),
    _("Preferences saved"),
    _("Profile updated successfully"),
    _("Password changed"),
    _("The session is ended"),
    _("All other sessions are ended"),
    # what is wrong with a field
    _("{field} must be a whole number from {low} to {high}"),
    _("{field} must be text of 1 to {high} characters"),
    _("{field} must be text of at most {high} characters"),
    _("{field} must be text of 1 to {high} characters without control characters"),
    _("{field} must be text"),
    _("{field} must be true or false"),
    _("{field} must be an e-mail address such as alice@example.com"),
    _("{field} must be a language tag (BCP 47) of at most {high} characters, such as en or de-AT"),
    _("{field} must be light, dark, or auto"),
    _("{field} is required"),
    _("{fields} are required"),
    # what is refused
    _("Not found"),
    _("Method not allowed"),
    _("Internal server error"),
    _("Requests from other sites are not allowed"),
    _("Registration is closed"),
    _("Log in first"),
    _("Your session has ended; log in again, then send this form once more"),
    _("Your session has ended, and the cart with it; nothing was changed"),
    _("There is no such session of yours"),
    _("Product not in cart"),
    _("Product not in the catalogue"),
    _("A line of the cart holds at most {limit} pieces"),
    _("The cart holds at most {limit} different products"),
    _("Invalid email or password"),
    _("The current password is wrong"),
    _("There is an account with this e-mail address already"),
    _("Too many attempts; try again in {time}"),
    _("Too many passwords are being checked at the moment; try again in {time}"),
    _("The password must have at least {limit} characters"),
    _("The password must have at most {limit} bytes"),
    _("This password is one of the most common ones; choose another"),
    _("The password must be one line: browsers send no line breaks"),
    _("This password is easy to guess from your name or the shop's; choose another"),
    _("The form is not valid UTF-8, or it has too many fields"),
    _("The body must be a form ({form}) or JSON ({json})"),
    _("The body is not valid JSON"),
    _("The body must be one JSON object"),
    _("The body is too large: the limit is {limit} bytes (64 KiB)"),
    _("The shop's database cannot be reached at the moment"),
    # what was done of a request that failed halfway
    _("The log-in was not completed: {reason}"),
    _("The account was not created: {reason}"),
    _("The account was created, but the log-in was not completed: {reason}"),
    _("The password was not changed: {reason}"),
    _("It is not known whether the password was changed: {reason}"),
    _("All other devices are logged out, but sessions of this one may be left: {reason}"),
    # from the session layer
    _("The session would take {size} bytes and the limit is {limit}; its largest keys: {keys}"),
    _("This session was ended or rotated by another request; this change was not saved"),
    _("The session is being changed by too many requests at once; this change was not saved"),
    _("The session store cannot be reached at the moment"),
    _("The {backend} backend cannot list sessions; only this one is shown. The others can still be ended."),
    _("Unknown browser"),
)
BROWSER = _("{browser} on {system}")

_HOLE = re.compile(r"\\{(\w+)\\}")
_KINDS = {
    "field": r"[a-z_]+",
    "fields": r"[a-z_]+(?:, [a-z_]+)*,? and [a-z_]+",
    "time": r"[0-9]+ seconds?",
    "backend": r"[a-z]+",
    "form": r"[a-z/-]+",
    "json": r"[a-z/-]+",
    **dict.fromkeys(("low", "high", "limit", "number", "size"), r"[0-9]+"),
}
_AT_THE_END = ("product", "keys", "reason")
"""Holes that take any text. They end their sentence: two of them in one would take quadratic time."""


def _pattern(template: str) -> re.Pattern[str]:
    def hole(found: re.Match[str]) -> str:
        name = found[1]
        kind = ".+" if name in _AT_THE_END and template.endswith(f"{{{name}}}") else _KINDS[name]
        return f"(?P<{name}>{kind})"

    return re.compile(_HOLE.sub(hole, re.escape(template)), re.DOTALL)


_PLAIN = frozenset(template for template in SENTENCES if "{" not in template)
_PATTERNS = [(_pattern(template), template) for template in SENTENCES if "{" in template]


def recognised(sentence: str) -> tuple[str | None, dict[str, str]]:
    """The template that a sentence was made of, and what was put in; None for anybody else's sentence."""
    if sentence in _PLAIN:
        return sentence, {}
    for pattern, template in _PATTERNS:
        if found := pattern.fullmatch(sentence):
            return template, found.groupdict()
    return None, {}
