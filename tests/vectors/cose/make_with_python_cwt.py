"""Run by hand, never by the tests: let python-cwt sign an envelope, and see that it verifies one of este's.

It needs cbor2 before version 6, so it has an environment of its own::

    python3 -m venv /tmp/cwt && /tmp/cwt/bin/pip install 'cwt>=3,<4'
    /tmp/cwt/bin/python tests/vectors/cose/make_with_python_cwt.py sign > tests/vectors/cose/python_cwt.yaml
    /tmp/cwt/bin/python tests/vectors/cose/make_with_python_cwt.py verify tests/vectors/cose/python_cwt.yaml

Nothing of este is imported here: the key, the header and the payload are spelled out, as another language would.
"""

import hashlib
import re
import sys
from pathlib import Path

import cwt
from cwt import COSE, COSEKey

SECRET = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
X = bytes.fromhex("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6")
Y = bytes.fromhex("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299")
"""The P-256 key of RFC 6979 A.2.5."""

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

REGION = b"sunvale"
PAYLOAD = bytes.fromhex(
    "a7" "01" "6773756e76616c65" "02" "6467772d31" "03" "01" "04" "5820" + 32 * "00"
    + "05" "65616e6e6961" "06" "02" "07" "1832"
)  # fmt: skip
"""A purchase: region sunvale, gateway gw-1, record 1, for participant "annia", right 2, at most 50 tokens."""

PROTECTED = {
    1: -7,
    4: hashlib.sha256(b"\xa4\x01\x02\x20\x01\x21\x58\x20" + X + b"\x22\x58\x20" + Y).digest(),
    16: "este.purchase",
}


def key() -> COSEKey:
    """The key in the library's own form."""
    return COSEKey.new({1: 2, 2: PROTECTED[4], 3: -7, -1: 1, -2: X, -3: Y, -4: SECRET})


def sign() -> None:
    """Print an envelope that python-cwt signed. It does not normalize s, so it is asked until s is low."""
    while True:
        sealed = COSE.new().encode(PAYLOAD, key(), protected=PROTECTED, external_aad=REGION)
        if int.from_bytes(sealed[-32:], "big") <= ORDER // 2:
            break
    print(f"source: signed by python-cwt {cwt.__version__} with make_with_python_cwt.py, key of RFC 6979 A.2.5")
    print(f'secret: "{SECRET.hex()}"\nregion: {REGION.decode()}\ntype: purchase')
    print(f'payload: "{PAYLOAD.hex()}"\nsealed: "{sealed.hex()}"')


def verify(path: Path) -> None:
    """See that python-cwt opens both envelopes in the vector file, its own and este's, and no other region's."""
    for name, sealed in re.findall(r'^(sealed\w*): "([0-9a-f]+)"$', path.read_text(), re.MULTILINE):
        assert COSE.new().decode(bytes.fromhex(sealed), key(), external_aad=REGION) == PAYLOAD
        try:
            COSE.new().decode(bytes.fromhex(sealed), key(), external_aad=b"elsewhere")
        except cwt.VerifyError:
            print(f"{name}: python-cwt {cwt.__version__} verifies it for {REGION.decode()}, and for no other region")
        else:
            raise SystemExit(f"{name}: verifies for another region too")


if __name__ == "__main__":
    if sys.argv[1] == "sign":
        sign()
    else:
        verify(Path(sys.argv[2]))
