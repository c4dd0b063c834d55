"""TLS as the settings ask for it: which certificates to trust at the broker's end, and which one to show there."""

from __future__ import annotations

import ssl

from config.settings.broker import Tls
from protocol.errors import OperatorError


def context_of(tls: Tls) -> ssl.SSLContext:
    """The context of a connection to the broker.

    Raises:
        OperatorError: a file is missing or is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise OperatorError(tls.ca_file, "", "certificates in PEM that the broker's leads to", str(error)) from error
    if tls.certificate_file is not None:
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            expected = f"a certificate in PEM, and its key in {tls.key_file}"
            raise OperatorError(tls.certificate_file, "", expected, str(error)) from error
    return context


def _no_password() -> str:
    """An encrypted key file is a mistake that is told, not a question on the terminal."""
    return ""
