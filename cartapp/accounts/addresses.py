"""Which spellings of an e-mail address are one address, and the keys that accounts are found by.

Some browsers send the domain of an address in ASCII (`anna@xn--bcher-kva.example`), others, and programs, as
it is typed (`anna@bücher.example`).
"""

import unicodedata
from hashlib import sha256

_MAX_LABEL = 63  # characters, in ASCII (RFC 1035, section 2.3.4)


def normalized(email: str) -> str:
    """The one spelling of an address: capitals, accents and the form of the domain make no difference.

    The domain is mapped by UTS #46 and written in ASCII. It need not be valid: any text has a spelling.
    """
    local, at, domain = _composed(email).rpartition("@")
    return f"{local.lower()}{at}{_in_ascii(domain)}"


def is_same(one: str, other: str) -> bool:
    """Whether two spellings are one address."""
    return one == other or normalized(one) == normalized(other)


def email_key(email: str) -> str:
    """Equal for the spellings of one address; of one length, and of no use to a reader of the table."""
    return _hash(normalized(email))


def lookup_keys(email: str) -> tuple[str, ...]:
    """The keys that an account with this address may have, that of the given spelling first.

    Accounts were keyed by the spelling that they were made with, before the domain was mapped. So one address
    may have two accounts, each of which is found by its own spelling.
    """
    as_typed = _composed(email).lower()
    local, at, domain = as_typed.rpartition("@")
    spellings = (as_typed, normalized(email), f"{local}{at}{_in_unicode(domain)}")
    return tuple(dict.fromkeys(map(_hash, spellings)))


def _composed(email: str) -> str:
    return unicodedata.normalize("NFC", email.strip())


def _hash(spelling: str) -> str:
    return sha256(spelling.encode("utf-8", "surrogatepass")).hexdigest()


def _in_ascii(domain: str) -> str:
    """The domain as browsers send it. IDNA 2008 does not check its labels, as there are domains of emoji."""
    if domain.isascii():
        return domain.lower()
    import idna  # its tables are large, and few addresses need them

    try:
        mapped = idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError:  # a character that no domain may have, or too long: it is only its own spelling
        return domain.lower()
    return ".".join(map(_encoded, mapped.split(".")))


def _in_unicode(domain: str) -> str:
    """The domain with its labels decoded as far as they can be."""
    return ".".join(map(_decoded, domain.split(".")))


def _encoded(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"


def _decoded(label: str) -> str:
    if not label.startswith("xn--") or len(label) > _MAX_LABEL:
        return label
    try:
        return unicodedata.normalize("NFC", label[4:].encode("ascii").decode("punycode")).lower()
    except UnicodeError:  # no punycode
        return label
