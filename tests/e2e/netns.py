"""A network that a test can cut: every node of a region in a network namespace of its own, on two switches.

Node k has 198.18.N.k, out of what RFC 2544 sets aside for tests. The first half hangs on one switch, the rest on the
other; the test itself has 198.18.N.254 on the first. Needs root, and iproute2's `ip`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.e2e.consensus import Consensus

REMEDY = "network namespaces take root and iproute2: sudo make test"
HERE = 254


@dataclass(frozen=True)
class Wires:
    """The switches, and the wires to nodes."""

    tag: str
    """Of this test process: what it made bears it, since an interface's name has 15 characters at most."""
    names: tuple[str, ...]

    @property
    def net(self) -> str:
        """The first three numbers of every address."""
        return f"198.18.{os.getpid() % 250 + 1}"

    def address(self, name: str) -> str:
        """A node's."""
        return f"{self.net}.{self.names.index(name) + 1}"

    def cut(self, name: str) -> None:
        """Cut one node off."""
        _ip("link", "set", self._wire(name), "down")

    def mend(self, name: str) -> None:
        """And let it back."""
        _ip("link", "set", self._wire(name), "up")

    def split(self) -> None:
        """Cut the wire between the switches: two nodes here, two there."""
        _ip("link", "set", f"{self.tag}x0", "down")

    def join(self) -> None:
        """And mend it."""
        _ip("link", "set", f"{self.tag}x0", "up")

    def inside(self, name: str) -> list[str]:
        """What a command begins with that runs at a node's."""
        return ["ip", "netns", "exec", self._space(name)]

    def lay(self) -> None:
        """Make everything."""
        for switch in ("a", "b"):
            _ip("link", "add", f"{self.tag}{switch}", "type", "bridge")
            _ip("link", "set", f"{self.tag}{switch}", "up")
        _ip("link", "add", f"{self.tag}x0", "type", "veth", "peer", "name", f"{self.tag}x1")
        for end, switch in (("x0", "a"), ("x1", "b")):
            _ip("link", "set", f"{self.tag}{end}", "master", f"{self.tag}{switch}", "up")
        _ip("address", "add", f"{self.net}.{HERE}/24", "dev", f"{self.tag}a")
        for number, name in enumerate(self.names):
            space, wire, end = self._space(name), self._wire(name), f"{self.tag}e{number}"
            switch = "a" if 2 * number < len(self.names) else "b"
            _ip("netns", "add", space)
            _ip("link", "add", wire, "type", "veth", "peer", "name", end)
            _ip("link", "set", wire, "master", f"{self.tag}{switch}", "up")
            _ip("link", "set", end, "netns", space)
            _ip("-n", space, "address", "add", f"{self.address(name)}/24", "dev", end)
            _ip("-n", space, "link", "set", end, "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def take_up(self) -> None:
        """Remove what was made, as far as it was."""
        for name in self.names:
            _try("netns", "delete", self._space(name))
            _try("link", "delete", self._wire(name))
        for one in ("x0", "a", "b"):
            _try("link", "delete", f"{self.tag}{one}")

    def _wire(self, name: str) -> str:
        return f"{self.tag}w{self.names.index(name)}"

    def _space(self, name: str) -> str:
        return f"{self.tag}-{name}"


@contextmanager
def wired(made: Consensus) -> Iterator[Wires]:
    """Put the nodes of a region that does not run yet onto wires of their own."""
    wires = Wires(f"es{os.getpid() % 1_000_000}", tuple(made.names))
    wires.take_up()
    try:
        wires.lay()
        for name in made.names:
            made.inside[name] = wires.inside(name)
            made.hosts[name] = wires.address(name)
            peers = made.settings(name)["cometbft"]["peers"]
            made.change(
                name, p2p_host=wires.address(name), rpc_host=wires.address(name),
                peers=[_moved(made, wires, peer) for peer in peers],
            )  # fmt: skip
        yield wires
    finally:
        for name in list(made.processes):
            made.kill(name)
        wires.take_up()


def _moved(made: Consensus, wires: Wires, peer: str) -> str:
    """A peer at its new address: on one machine its port tells who it is."""
    node_id, _, place = peer.partition("@")
    port = int(place.rpartition(":")[2])
    name = next(one for one in made.names if made.settings(one)["cometbft"]["p2p_port"] == port)
    return f"{node_id}@{wires.address(name)}:{port}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"{REMEDY} (ip {' '.join(arguments)}: {done.stderr.strip()})", pytrace=False)


def _try(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=False, capture_output=True)
