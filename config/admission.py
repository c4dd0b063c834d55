"""The slip that the regulator hands back to a gateway that was admitted: all that it needs to go on.

Nothing in it is secret. Whoever carries it is trusted with one thing: which aggregator the gateway will believe, so its
fingerprint is shown on both sides. A wrong place in the sequence only makes the aggregator refuse what follows.
"""

from __future__ import annotations

from typing import Annotated

import yaml
from pydantic import AfterValidator

from config.model import Model, Name, Natural, mistake
from protocol.fields import DIGEST_BYTES


def _to_digest(value: str) -> str:
    try:
        found = bytes.fromhex(value)
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES or found.hex() != value:
        raise mistake(f"{2 * DIGEST_BYTES} hexadecimal digits")
    return value


Digest = Annotated[str, AfterValidator(_to_digest)]


class _Dumper(yaml.SafeDumper):
    """Writes PEM as people know it: in lines."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        """Text of several lines as a block."""
        node: yaml.ScalarNode = self.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        )
        return node


_Dumper.add_representer(str, _Dumper.represent_str)


class AdmissionSlip(Model):
    """One gateway's admission, as the ledger has it."""

    region: Name
    gateway: Name
    key_id: Digest
    """The key that was admitted."""
    sequence: Natural
    """The last number that the ledger has from this gateway: it goes on behind it, whichever key signed."""
    previous: Digest
    """Digest of that record's envelope; zeros where there is none yet."""
    aggregator_key: str
    """Public keys in PEM, one after another: whose receipts and statements to believe."""
    certificate: str | None = None
    """TLS client certificate in PEM for the admitted key, if one was issued."""

    def to_yaml(self) -> str:
        """The slip as a file."""
        return yaml.dump(self.model_dump(), Dumper=_Dumper, sort_keys=False)
