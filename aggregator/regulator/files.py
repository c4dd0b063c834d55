"""Files that somebody carries to the regulator's desk: requests, evidence, and the authority that the broker trusts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from protocol.certificates import Authority
from protocol.envelope import ENVELOPE_BYTES_MAX
from protocol.errors import EncodingError, OperatorError

PEM_BYTES_MAX: Final = 1 << 20


def load_authority(certificate: Path, key: Path) -> Authority:
    """Read the certificate and key of the authority that the broker trusts.

    Raises:
        OperatorError: one of them is missing or none, or they do not belong together.
    """
    try:
        return Authority.from_pem(_read(certificate), _read(key))
    except EncodingError as error:
        expected = f"the certificate of an authority in PEM, and its unencrypted key in {key}"
        raise OperatorError(certificate, "", expected, str(error)) from error


def read_envelope(path: Path) -> bytes:
    """Read an envelope that somebody has kept, as it was sent.

    Raises:
        OperatorError: there is none.
    """
    return _read(path, "an envelope, as it was sent", ENVELOPE_BYTES_MAX)


def read_file(path: Path) -> bytes:
    """Read a request that was carried here.

    Raises:
        OperatorError: there is none.
    """
    return _read(path)


def _read(path: Path, expected: str = "a file in PEM", bytes_max: int = PEM_BYTES_MAX) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max)
    except OSError as error:
        raise OperatorError(path, "", expected, error.strerror or str(error)) from error
