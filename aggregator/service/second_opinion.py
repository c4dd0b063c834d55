"""Every signature once more, with another library: python-ecdsa, which shares no code with the first.

It is slow, and its signing leaks timing (CVE-2024-23342), so it never signs here. Verifying leaks nothing.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

from ecdsa import NIST256p, VerifyingKey
from ecdsa.keys import BadSignatureError

from protocol.crypto import PublicKey
from protocol.envelope import Envelope, signed_bytes


def verify_again(envelope: Envelope, key: PublicKey, region: str) -> bool:
    """Whether python-ecdsa, too, finds that `key` signed this envelope for `region`."""
    message = signed_bytes(envelope.protected, region.encode(), envelope.payload)
    try:
        return bool(_loaded(key.point).verify(envelope.signature, message, hashfunc=sha256))
    except BadSignatureError:
        return False


@lru_cache(maxsize=4096)
def _loaded(point: bytes) -> VerifyingKey:
    return VerifyingKey.from_string(point, curve=NIST256p)
