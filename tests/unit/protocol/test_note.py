"""Signed notes against the examples of their specifications, and what must not pass for one."""

from __future__ import annotations

import re

import pytest

from protocol.crypto import Ed25519Key, verify_ed25519
from protocol.errors import EncodingError, SignatureError
from protocol.merkle import EMPTY_ROOT
from protocol.note import LogText, is_origin, key_id, open_note, sign_note, verifier_key

KEY = Ed25519Key.from_pem(
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MC4CAQAwBQYDK2VwBCIEIEzNCJsoP5bam4T5RuxhFODBDC1jNTYk+/BJoZjMZXHt\n"
    b"-----END PRIVATE KEY-----\n"
)
ORIGIN = "example.com/village/data"
TEXT = LogText(ORIGIN, 20852163, bytes(range(32)))


def test_ed25519_is_that_of_rfc_8032() -> None:
    """RFC 8032 §7.1, test 2."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    verify_ed25519(public, signature, b"\x72")
    with pytest.raises(SignatureError):
        verify_ed25519(public, signature, b"\x73")


def test_a_verifier_key_is_spelled_as_in_the_specification() -> None:
    """The example of c2sp.org/signed-note, § Verifier keys; its signature stands there, too."""
    from base64 import b64decode

    spelled = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    public = b64decode(spelled.rpartition("+")[2])[1:]
    assert verifier_key("example.com/foo", public) == spelled
    signature = b64decode(
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    )
    assert signature[:4] == key_id("example.com/foo", public)
    verify_ed25519(public, signature[4:], b"This is an example message.\n")


def test_the_text_is_spelled_as_in_the_specification() -> None:
    """The example of c2sp.org/tlog-checkpoint."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert str(LogText.parse(text)) == text


def test_a_note_says_what_was_signed() -> None:
    assert open_note(sign_note(TEXT, KEY), ORIGIN, KEY.public) == TEXT
    empty = LogText(ORIGIN, 0, EMPTY_ROOT)
    assert open_note(sign_note(empty, KEY), ORIGIN, KEY.public) == empty


def test_other_signatures_on_a_note_do_not_count() -> None:
    """A witness adds its own, and a stranger may use the log's name."""
    other = Ed25519Key.generate()
    said, _, signed = sign_note(TEXT, KEY).decode().rpartition("\n\n")
    strangers = sign_note(TEXT, other).decode().rpartition("\n\n")[2]
    witness = strangers.replace(ORIGIN, "witness.example")
    note = f"{said}\n\n{strangers}{witness}{signed}".encode()
    assert open_note(note, ORIGIN, KEY.public) == TEXT
    with pytest.raises(SignatureError):
        open_note(f"{said}\n\n{witness}".encode(), ORIGIN, KEY.public)


def test_a_changed_note_is_refused() -> None:
    note = sign_note(TEXT, KEY)
    for at in range(len(note) - 1):
        changed = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        with pytest.raises((SignatureError, EncodingError)):
            open_note(changed, ORIGIN, KEY.public)


@pytest.mark.parametrize("note", [b"", b"\xff\n\nx", b"no signatures\n", b"x" * (1 << 17), b"a\n\n\xe2\x80\x94 a !\n"])
def test_what_is_no_note_is_refused(note: bytes) -> None:
    with pytest.raises((SignatureError, EncodingError)):
        open_note(note, "a", KEY.public)


@pytest.mark.parametrize("text", ["", "o\n", "o\n1\n", "o\n01\nAA==\n", "o\n-1\nAA==\n", "o\n1\n*\n", "o\n²\nAA==\n"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(EncodingError):
        LogText.parse(text)


def test_an_origin_has_no_spaces_and_no_plus() -> None:
    assert is_origin("example.com/village/data")
    assert not any(map(is_origin, ("", "a b", "a+b", "a\n", "ü", "x" * 256)))


def test_a_private_key_is_never_shown() -> None:
    assert re.fullmatch(r"Ed25519Key\([0-9a-f]{16}…\)", repr(KEY))
    assert Ed25519Key.from_pem(KEY.to_pem()).public == KEY.public


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_private_key_is_refused(pem: bytes) -> None:
    with pytest.raises(SignatureError):
        Ed25519Key.from_pem(pem)
