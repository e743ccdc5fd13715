"""Secrets, the key ring, and sealing: AES-256-GCM from `cryptography`, a key of its own for each message.

A sealed message: version (1 byte), key id (4), salt (16), nonce (12), ciphertext, tag (16). The salt makes
the message's key by HKDF-SHA256 (RFC 5869), so that no key and nonce ever meet twice; version, key id and
the caller's context are authenticated with it.

The two steps of HKDF are taken apart: a secret is extracted once, and each message only expanded, its salt
being the `info`, which is what RFC 5869, section 3.2, has that for.
"""

import hmac
import os
import re
import secrets
from base64 import urlsafe_b64decode
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import UnreadableRecord

_VERSION = b"\x01"
_ID, _SALT, _NONCE, _TAG = 4, 16, 12, 16
_HEAD = len(_VERSION) + _ID
OVERHEAD = _HEAD + _SALT + _NONCE + _TAG
"""Bytes that sealing adds."""

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_LEAST_DIFFERENT = 16


def new_secret() -> str:
    """A new secret: 32 random bytes as 43 base64url characters."""
    while not is_strong(made := secrets.token_urlsafe(32)):  # one in many millions
        continue
    return made


def is_strong(secret: str) -> bool:
    """Whether a secret is 43 base64url characters, at least 16 of them different."""
    return _SECRET.fullmatch(secret) is not None and len(set(secret)) >= _LEAST_DIFFERENT


class KeyRing:
    """One secret that seals, and older ones that only open. Raises ValueError for a weak secret."""

    def __init__(self, newest: str, *old: str) -> None:
        if not all(is_strong(secret) for secret in (newest, *old)):
            raise ValueError(
                "A secret must be 43 base64url characters (32 bytes), at least 16 of them different."
            )
        roots = [urlsafe_b64decode(secret + "=") for secret in (newest, *old)]
        self._expanders = {_key_id(root): _expander(root) for root in reversed(roots)}
        self._newest = _key_id(roots[0])

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt; the same `context` is needed to open it."""
        fresh = os.urandom(_SALT + _NONCE)
        salt, nonce = fresh[:_SALT], fresh[_SALT:]
        head = _VERSION + self._newest
        cipher = AESGCM(_message_key(self._expanders[self._newest], salt))
        return head + fresh + cipher.encrypt(nonce, plain, head + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt. Raises `UnreadableRecord` for all that no secret of this ring sealed for this context."""
        head, key_id = sealed[:_HEAD], sealed[len(_VERSION) : _HEAD]
        if len(sealed) < OVERHEAD or head[:1] != _VERSION or key_id not in self._expanders:
            raise UnreadableRecord("it was not encrypted with a key of ours")
        salt = sealed[_HEAD : _HEAD + _SALT]
        nonce = sealed[_HEAD + _SALT : _HEAD + _SALT + _NONCE]
        cipher = AESGCM(_message_key(self._expanders[key_id], salt))
        try:
            return cipher.decrypt(nonce, sealed[_HEAD + _SALT + _NONCE :], head + context)
        except InvalidTag:
            raise UnreadableRecord("it was changed, or encrypted for another purpose") from None


def _key_id(root: bytes) -> bytes:
    return hmac.digest(root, b"cartapp key id", sha256)[:_ID]


def _expander(root: bytes) -> hmac.HMAC:
    """HKDF-Extract, and the beginning of HKDF-Expand."""
    return hmac.new(hmac.digest(b"cartapp session v1", root, "sha256"), digestmod="sha256")


def _message_key(expander: hmac.HMAC, salt: bytes) -> bytes:
    expanding = expander.copy()
    expanding.update(salt + b"\x01")  # the number of the one block that 32 bytes take
    return expanding.digest()
