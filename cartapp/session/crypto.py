"""Secrets, and encryption with AES-256-GCM under a separate key for each message.

An encrypted message: version (1 byte), key ID (4), salt (16), nonce (12), ciphertext, tag (16). HKDF-SHA256
(RFC 5869) derives the message key from the salt, so that no pair of key and nonce repeats. Version, key ID
and the caller's context are authenticated.

HKDF is split into its two steps: each secret is extracted once, and expanded for each message with the salt
as `info` (RFC 5869, section 3.2).
"""

import hmac
import os
import re
import secrets
from base64 import urlsafe_b64decode
from hashlib import sha256

from .errors import MissingDriver, UnreadableRecord

_VERSION = b"\x01"
_ID, _SALT, _NONCE, _TAG = 4, 16, 12, 16
_HEAD = len(_VERSION) + _ID
OVERHEAD = _HEAD + _SALT + _NONCE + _TAG
"""Bytes that encryption adds."""

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_MIN_DISTINCT = 16


def new_secret() -> str:
    """Return a new secret: 32 random bytes as 43 base64url characters."""
    while not is_strong(secret := secrets.token_urlsafe(32)):  # weak once in many millions
        continue
    return secret


def is_strong(secret: str) -> bool:
    """Return whether a secret is 43 base64url characters, at least 16 of them different."""
    if not isinstance(secret, str) or _SECRET.fullmatch(secret) is None:
        return False
    return len(set(secret)) >= _MIN_DISTINCT


class KeyRing:
    """A secret for encryption, and older ones for decryption only.

    Raises ValueError for a weak secret, and `MissingDriver` without the package cryptography.
    """

    def __init__(self, newest: str, *old: str) -> None:
        try:  # imported here, since most applications encrypt nothing
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise MissingDriver("Encryption needs a package: pip install cryptography") from error
        self._cipher, self._invalid_tag = AESGCM, InvalidTag
        if not all(is_strong(secret) for secret in (newest, *old)):
            raise ValueError(
                "A secret must be 43 base64url characters (32 bytes), at least 16 of them different."
            )
        roots = [urlsafe_b64decode(secret + "=") for secret in (newest, *old)]
        self._expanders = {_key_id(root): _expander(root) for root in reversed(roots)}
        self._newest = _key_id(roots[0])

    def encrypt(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt; decryption needs the same `context`."""
        fresh = os.urandom(_SALT + _NONCE)
        salt, nonce = fresh[:_SALT], fresh[_SALT:]
        head = _VERSION + self._newest
        cipher = self._cipher(_message_key(self._expanders[self._newest], salt))
        return head + fresh + cipher.encrypt(nonce, plain, head + context)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt. Raises `UnreadableRecord` if no secret of this ring encrypted it for this context."""
        head, key_id = sealed[:_HEAD], sealed[len(_VERSION) : _HEAD]
        if len(sealed) < OVERHEAD or head[:1] != _VERSION or key_id not in self._expanders:
            raise UnreadableRecord("it was not encrypted with a known key")
        salt = sealed[_HEAD : _HEAD + _SALT]
        nonce = sealed[_HEAD + _SALT : _HEAD + _SALT + _NONCE]
        cipher = self._cipher(_message_key(self._expanders[key_id], salt))
        try:
            return cipher.decrypt(nonce, sealed[_HEAD + _SALT + _NONCE :], head + context)
        except self._invalid_tag:
            raise UnreadableRecord("it was changed, or encrypted for another purpose") from None


def _key_id(root: bytes) -> bytes:
    return hmac.digest(root, b"cartapp key id", sha256)[:_ID]


def _expander(root: bytes) -> hmac.HMAC:
    """Return HKDF-Extract with the start of HKDF-Expand."""
    return hmac.new(hmac.digest(b"cartapp session v1", root, "sha256"), digestmod="sha256")


def _message_key(expander: hmac.HMAC, salt: bytes) -> bytes:
    block = expander.copy()
    block.update(salt + b"\x01")  # the counter: 32 bytes take one block
    return block.digest()
