"""Normalization of e-mail addresses, and the keys that accounts are looked up by.

Browsers send the domain of an address in ASCII (`anna@xn--bcher-kva.example`) or as typed
(`anna@bücher.example`).
"""

import unicodedata
from hashlib import sha256

_MAX_LABEL = 63  # characters, in ASCII (RFC 1035, section 2.3.4)


def normalize(email: str) -> str:
    """Return the normal form of an address: NFC, lower case, and the domain in ASCII by UTS #46.

    Any text is accepted; the domain need not be valid.
    """
    local, at, domain = _normalize_unicode(email).rpartition("@")
    return f"{local.lower()}{at}{_to_ascii(domain)}"


def is_same(one: str, other: str) -> bool:
    """Return whether two spellings are the same address."""
    return one == other or normalize(one) == normalize(other)


def email_key(email: str) -> str:
    """Return the lookup key of an address: a hash of its normal form, of fixed length."""
    return _hash(normalize(email))


def lookup_keys(email: str) -> tuple[str, ...]:
    """Return the keys that an account with this address may have, that of the given spelling first.

    Earlier versions did not map the domain of the key. One address may therefore have two accounts, each
    found by its own spelling.
    """
    as_typed = _normalize_unicode(email).lower()
    local, at, domain = as_typed.rpartition("@")
    spellings = (as_typed, normalize(email), f"{local}{at}{_to_unicode(domain)}")
    return tuple(dict.fromkeys(map(_hash, spellings)))


def _normalize_unicode(email: str) -> str:
    return unicodedata.normalize("NFC", email.strip())


def _hash(spelling: str) -> str:
    return sha256(spelling.encode("utf-8", "surrogatepass")).hexdigest()


def _to_ascii(domain: str) -> str:
    """Convert the domain as browsers do. Labels are not checked by IDNA 2008: emoji domains exist."""
    if domain.isascii():
        return domain.lower()
    import idna  # large tables, rarely needed

    try:
        mapped = idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError:  # invalid character, or too long
        return domain.lower()
    return ".".join(map(_encode_label, mapped.split(".")))


def _to_unicode(domain: str) -> str:
    """Decode the labels of the domain, keeping invalid ones."""
    return ".".join(map(_decode_label, domain.split(".")))


def _encode_label(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"


def _decode_label(label: str) -> str:
    if not label.startswith("xn--") or len(label) > _MAX_LABEL:
        return label
    try:
        return unicodedata.normalize("NFC", label[4:].encode("ascii").decode("punycode")).lower()
    except UnicodeError:  # invalid punycode
        return label
