"""Mask a password in the message of a driver.

No known driver repeats it, so this is a precaution. A password that is a word, such as that of a development
server, may be a word of the message as well: masked there, it would garble the message and give itself away.
"""

import re
from typing import Final
from urllib.parse import quote

_SHORTEST: Final = 8
"""The length from which a password other than a word cannot be in a message by accident."""


def mask(message: str, password: str) -> str:
    """Replace the password by `***`: a word only in a URL or an option, any other password everywhere."""
    if not password:
        return message
    secret = "|".join(re.escape(form) for form in {password, quote(password, safe="")})
    if len(password) >= _SHORTEST and not password.isalpha():
        return re.sub(secret, "***", message)
    in_url, in_option = rf"(://\S*:)(?:{secret})(?=@)", rf"((?:password|pwd)=)(?:{secret})(?!\w)"
    return re.sub(f"{in_url}|{in_option}", r"\1\2***", message, flags=re.IGNORECASE)
