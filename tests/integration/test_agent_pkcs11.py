"""Pains row 11, secure elements that are flaky: a real token (SoftHSM2), and one that fails, lies and goes away."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pkcs11
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from pkcs11.exceptions import DeviceError, NoSuchToken

from agent.exits import EXIT_PIN_REFUSED
from agent.keys.keystore import open_key
from agent.keys.pkcs11_port import ChipSigner, low_s, make_key, public_key_of
from config.settings.agent import ChipKey
from protocol.crypto import P256_ORDER, PublicKey, SoftwareKey, fingerprint, is_low_s
from protocol.errors import KeyUnavailable, OperatorError, SignatureError
from tests.builders import a_key
from tests.integration.agent_world import COMMAND, Aggregator, Home, Meters, a_broker, eventually
from tests.unit.agent.builders import a_settings

pytestmark = pytest.mark.softhsm2

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "918273"
LABEL = "este"


class Chip:
    """A token of SoftHSM2 in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {self.tokens}\nlog.level = ERROR\n")
        self.pin_file = folder / "pin"
        self.pin_file.write_text(f"{PIN}\n")
        self.pin_file.chmod(0o600)

    def make_token(self) -> None:
        command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "0000"]
        subprocess.run(command, check=True, capture_output=True)
        reload()

    def settings(self, **changes: Any) -> ChipKey:
        default = {"module": MODULE, "token_label": LABEL, "key_label": "gateway", "pin_file": self.pin_file}
        return ChipKey(**default | changes)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Somebody pulls it out, and puts it back."""
        pulled = self.tokens.with_name("pulled")
        shutil.move(self.tokens, pulled)
        self.tokens.mkdir()
        try:
            yield
        finally:
            self.tokens.rmdir()
            shutil.move(pulled, self.tokens)


def reload() -> None:
    """SoftHSM2 reads its settings and its tokens when it is started."""
    pkcs11.lib(str(MODULE)).reinitialize()


@pytest.fixture
def chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chip]:
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    chip = Chip(tmp_path)
    chip.make_token()
    make_key(chip.settings())
    yield chip
    pkcs11.unload(str(MODULE))


class TestSigning:
    """A key in a chip signs as one in a file does."""

    def test_what_it_signs_is_the_key_s_and_low_s(self, chip: Chip) -> None:
        signer = ChipSigner.open(chip.settings())
        for number in range(30):
            message = b"reading %d" % number
            signature = signer.sign(message)
            signer.public_key.verify(signature, message)
            assert is_low_s(signature)
        assert signer.failures == 0

    def test_the_settings_lead_to_it(self, chip: Chip, tmp_path: Path) -> None:
        chosen = {key: str(value) for key, value in chip.settings().model_dump().items()}
        settings = a_settings(tmp_path / "agent.yaml", key_file=None, pkcs11=chosen)
        assert open_key(settings).public_key == ChipSigner.open(chip.settings()).public_key

    def test_the_key_cannot_be_taken_out(self, chip: Chip) -> None:
        with pkcs11.lib(str(MODULE)).get_token(token_label=LABEL).open(user_pin=PIN) as session:
            key = session.get_key(label="gateway", object_class=pkcs11.ObjectClass.PRIVATE_KEY)
            assert key[pkcs11.Attribute.SENSITIVE]
            assert not key[pkcs11.Attribute.EXTRACTABLE]

    def test_a_key_is_never_made_twice(self, chip: Chip) -> None:
        with pytest.raises(OperatorError, match="no 'gateway' yet"):
            make_key(chip.settings())


class TestSettings:
    """What an operator can mend is told in one sentence, and nothing else signs instead."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"module": Path("/no/such/library.so")}, "PKCS#11 library of the chip's maker"),
            ({"token_label": "another"}, "in token 'another'"),
            ({"key_label": "another"}, "private key 'another'"),
        ],
        ids=["module", "token", "key"],
    )
    def test_what_is_not_there_is_told(self, chip: Chip, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(OperatorError, match=message):
            ChipSigner.open(chip.settings(**changes))

    def test_a_wrong_pin_is_told_and_tried_once(self, chip: Chip) -> None:
        chip.pin_file.write_text("0815\n")
        signer = ChipSigner(chip.settings(), "0815")
        with pytest.raises(OperatorError, match="locks itself"):
            signer.sign(b"")
        assert signer.failures == 0

    def test_a_pin_that_others_can_read_is_refused(self, chip: Chip) -> None:
        chip.pin_file.chmod(0o644)
        with pytest.raises(OperatorError, match="chmod 600"):
            ChipSigner.open(chip.settings())

    def test_a_key_on_another_curve_is_refused(self, chip: Chip) -> None:
        with pkcs11.lib(str(MODULE)).get_token(token_label=LABEL).open(user_pin=PIN, rw=True) as session:
            curve = pkcs11.util.ec.encode_named_curve_parameters("secp384r1")
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True
            )
            parameters.generate_keypair(store=True, label="p384")
        with pytest.raises(OperatorError, match="on P-256"):
            ChipSigner.open(chip.settings(key_label="p384"))


class TestFailing:
    """A chip that fails is tried again, reported, and never replaced."""

    def test_one_that_fails_once_is_asked_again_in_a_new_session(self, chip: Chip) -> None:
        signer = ChipSigner.open(chip.settings())
        signer._private = Failing([DeviceError("I2C")])
        signer.public_key.verify(signer.sign(b"reading"), b"reading")
        assert signer.failures == 1

    def test_one_that_was_pulled_out_is_reported_and_found_again(self, chip: Chip) -> None:
        signer = ChipSigner.open(chip.settings())
        with chip.away():
            signer.close()
            for _ in range(3):
                with pytest.raises(KeyUnavailable, match="the chip cannot sign"):
                    signer.sign(b"reading")
        signer.public_key.verify(signer.sign(b"reading"), b"reading")

    def test_one_that_lies_is_not_believed(self, chip: Chip, monkeypatch: pytest.MonkeyPatch) -> None:
        signer = ChipSigner.open(chip.settings())
        monkeypatch.setattr(ChipSigner, "_connect", lambda self, afresh: setattr(self, "_private", Lying()))
        signer.close()
        with pytest.raises(KeyUnavailable, match="does not fit"):
            signer.sign(b"reading")

    def test_one_that_holds_another_key_now_signs_nothing(self, chip: Chip) -> None:
        signer = ChipSigner.open(chip.settings())
        before = signer.public_key
        signer.close()
        shutil.rmtree(chip.tokens)
        chip.tokens.mkdir()
        chip.make_token()
        make_key(chip.settings())
        with pytest.raises(KeyUnavailable, match="another key"):
            signer.sign(b"reading")
        assert signer.public_key == before


class Failing:
    """A private key whose chip fails a few times."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors

    def sign(self, *_: Any, **__: Any) -> bytes:
        raise self.errors.pop()


class Lying:
    """A chip that returns something that looks like a signature."""

    def sign(self, *_: Any, **__: Any) -> bytes:
        return bytes(range(1, 65))


class TestSpelling:
    """Libraries spell points and signatures in several ways."""

    def test_a_high_s_becomes_the_low_one(self) -> None:
        signature = a_key().sign(b"reading")
        high = signature[:32] + (P256_ORDER - int.from_bytes(signature[32:])).to_bytes(32)
        assert low_s(high) == low_s(signature) == signature

    @pytest.mark.parametrize("signature", [b"", bytes(63), bytes(72)])
    def test_what_is_no_signature_is_refused(self, signature: bytes) -> None:
        with pytest.raises(SignatureError):
            low_s(signature)

    @pytest.mark.parametrize("wrap", [lambda point: point, lambda point: b"\x04\x41" + point], ids=["bare", "wrapped"])
    def test_a_point_is_read_bare_or_wrapped(self, wrap: Callable[[bytes], bytes]) -> None:
        key: PublicKey = a_key().public_key
        assert public_key_of(wrap(key.point)) == key

    def test_no_such_token_has_a_name_that_people_can_look_up(self) -> None:
        from agent.keys.pkcs11_port import told

        assert told(NoSuchToken()) == "NoSuchToken"


class TestCommands:
    """A gateway whose key is in a chip, through its commands."""

    def agent(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)

    def home(self, chip: Chip, folder: Path, broker_port: int = 1, meters_port: int = 1) -> Home:
        home = Home.make(folder, broker_port, meters_port)
        document = yaml.safe_load(home.settings.read_text())
        del document["key_file"]
        document["pkcs11"] = {key: str(value) for key, value in chip.settings().model_dump().items()}
        home.settings.write_text(yaml.safe_dump(document))
        return home

    def test_key_makes_it_shows_it_and_writes_its_public_half(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
        chip = Chip(tmp_path)
        chip.make_token()
        home = self.home(chip, tmp_path)
        assert "private key 'gateway'" in self.agent("key", "--settings", home.settings).stderr
        done = self.agent("key", "--settings", home.settings, "--make", "-o", tmp_path / "chip.pub.pem")
        assert "a signature takes" in done.stdout, done.stderr
        public = PublicKey.from_pem((tmp_path / "chip.pub.pem").read_text())
        assert fingerprint(public.thumbprint) in done.stdout
        again = self.agent("key", "--settings", home.settings, "--make")
        assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)

    @pytest.mark.parametrize("verb", ["key", "run"])
    def test_row_11_a_wrong_pin_has_a_status_of_its_own(self, chip: Chip, tmp_path: Path, verb: str) -> None:
        home = self.home(chip, tmp_path)
        chip.pin_file.write_text("0815\n")
        done = self.agent(verb, "--settings", home.settings)
        assert (done.returncode, len(done.stderr.splitlines())) == (EXIT_PIN_REFUSED, 1)

    @pytest.mark.mosquitto
    async def test_row_11_an_agent_signs_with_a_chip_reports_its_failure_and_goes_on(
        self, chip: Chip, tmp_path: Path
    ) -> None:
        """Nothing is signed by anybody else meanwhile, and no reading is lost."""
        take_in(chip, a_key())
        with a_broker(tmp_path) as broker:
            async with Meters().served() as meters, Aggregator(broker.port).listening() as aggregator:
                home = self.home(chip, tmp_path, broker.port, meters.port)
                process = home.start()
                try:
                    await eventually(lambda: len(aggregator.chain) >= 2, "records that the chip signed")
                    with chip.away():
                        await eventually(lambda: "the chip cannot sign" in home.log, "the report")
                        signed = (await home.status())["records_signed"]
                        reads = meters.reads
                        await eventually(lambda: meters.reads > reads + 5, "more readings")
                        status = await home.status()
                        assert status["records_signed"] == signed
                        assert "the chip cannot sign" in status["key"]
                    await eventually(lambda: len(aggregator.chain) > signed, "records after that")
                    assert await home.end(signal.SIGTERM) == 0
                finally:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
                status = await home.status()
                assert status["readings_read"] == len(aggregator.readings)
                assert len(set(aggregator.readings)) == len(aggregator.readings)


def take_in(chip: Chip, key: SoftwareKey) -> None:
    """Put a key that the test knows into the token, in place of the one that it made."""
    private = serialization.load_pem_private_key(key.to_pem(), None)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pkcs11.lib(str(MODULE)).get_token(token_label=LABEL).open(user_pin=PIN, rw=True) as session:
        for found in list(session.get_objects({pkcs11.Attribute.LABEL: "gateway"})):
            found.destroy()
        for attributes in (pkcs11.util.ec.decode_ec_private_key(der), pkcs11.util.ec.decode_ec_public_key(public)):
            session.create_object(attributes | {pkcs11.Attribute.LABEL: "gateway", pkcs11.Attribute.TOKEN: True})
