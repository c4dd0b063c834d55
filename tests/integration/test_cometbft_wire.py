"""Our own statement of CometBFT's wire against upstream's, out of the Go module that the program is built from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from aggregator.engine.cometbft import abci_pb2

MODULE = "github.com/cometbft/cometbft@v0.38.25"
UPSTREAM = "tendermint/abci/types.proto"
PACKAGES = ("tendermint.abci", "tendermint.types", "tendermint.crypto")
"""Where a name of ours may come from, in this order."""

Described = dict[str, DescriptorProto | EnumDescriptorProto]


def go() -> str:
    beside = Path(sys.prefix) / "go/go/bin/go"
    found = str(beside) if beside.is_file() else shutil.which("go")
    if found is None:
        pytest.fail("there is no Go, on PATH or in .venv/go; make cometbft brings it", pytrace=False)
    return found


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Described:
    """Upstream's messages and enums by full name."""
    told = subprocess.run([go(), "mod", "download", "-json", MODULE], capture_output=True, check=True, timeout=600)
    source, plain = Path(json.loads(told.stdout)["Dir"]) / "proto", tmp_path_factory.mktemp("proto")
    for path in source.rglob("*.proto"):
        (plain / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        (plain / path.relative_to(source)).write_text(without_gogoproto(path.read_text()))
    includes = [f"-I{plain}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    out = plain / "descriptors"
    compiler = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        *includes,
        "--include_imports",
        f"--descriptor_set_out={out}",
    ]
    subprocess.run([*compiler, UPSTREAM], check=True, timeout=120)
    return {name: it for file in FileDescriptorSet.FromString(out.read_bytes()).file for name, it in described(file)}


def without_gogoproto(text: str) -> str:
    """A definition without Go's own options, which change nothing on the wire."""
    text = re.sub(r'^import "gogoproto/gogo.proto";$', "", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*option \(gogoproto\.\w+\)\s*=\s*\w+;.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\[[^\]]*gogoproto[^\]]*\]", "", text)


def described(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto | EnumDescriptorProto]]:
    for message in file.message_type:
        yield f"{file.package}.{message.name}", message
        yield from ((f"{file.package}.{message.name}.{enum.name}", enum) for enum in message.enum_type)
    yield from ((f"{file.package}.{enum.name}", enum) for enum in file.enum_type)


def ours() -> Described:
    file = FileDescriptorProto.FromString(abci_pb2.DESCRIPTOR.serialized_pb)
    return {name.removeprefix("este.abci."): it for name, it in described(file)}


def theirs(upstream: Described, name: str) -> DescriptorProto | EnumDescriptorProto:
    return next(upstream[f"{package}.{name}"] for package in PACKAGES if f"{package}.{name}" in upstream)


def facts(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[object, ...]:
    """What of a field shows on the wire, and its name."""
    type_name = field.type_name.removeprefix(".este.abci.")
    for package in PACKAGES:
        type_name = type_name.removeprefix(f".{package}.")
    choice = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    return field.name, field.number, field.type, field.label, type_name, choice


@pytest.mark.parametrize("name", ours())
def test_what_we_say_of_the_wire_is_what_cometbft_says(upstream: Described, name: str) -> None:
    mine, its = ours()[name], theirs(upstream, name)
    if isinstance(mine, EnumDescriptorProto):
        assert isinstance(its, EnumDescriptorProto)
        assert [(value.name, value.number) for value in mine.value] == [(v.name, v.number) for v in its.value]
        return
    assert isinstance(its, DescriptorProto)
    known = [facts(its, field) for field in its.field]
    assert [facts(mine, field) for field in mine.field] == [fact for fact in known if fact[1] in numbers(mine)]


def numbers(message: DescriptorProto) -> set[int]:
    return {field.number for field in message.field}


LEFT_OUT = {
    *("extend_vote", "verify_vote_extension", "vote_extension", "extension_signature"),
    *("events", "gas_wanted", "gas_used", "info", "index", "proof_ops"),
}
"""What abci.proto says that it leaves out."""


def test_what_we_leave_out_is_what_we_say_that_we_leave_out(upstream: Described) -> None:
    left_out = {
        field.name
        for name, mine in ours().items()
        if isinstance(mine, DescriptorProto)
        for field in theirs(upstream, name).field  # type: ignore[union-attr]
        if field.number not in numbers(mine)
    }
    assert left_out == LEFT_OUT


def test_the_generated_code_is_what_make_proto_writes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    proto = "aggregator/engine/cometbft/abci.proto"
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"--python_out={tmp_path}"]
    subprocess.run([*compiler, f"--pyi_out={tmp_path}", proto], check=True, timeout=120)
    for name in ("abci_pb2.py", "abci_pb2.pyi"):
        generated = (tmp_path / "aggregator/engine/cometbft" / name).read_text()
        assert generated == (root / "aggregator/engine/cometbft" / name).read_text()
