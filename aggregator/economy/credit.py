"""How much a participant may still come to owe in money. Integers only.

What somebody is owed makes no room: a bank may pay it out tomorrow, and then the debt would stand alone.
"""

from __future__ import annotations

from protocol.money import millionths_of


def credit_left(credit_max: int, owed: int, promised: int) -> int:
    """What somebody may still come to owe, in millionths of a minor unit; below 0, nothing, and so much is too much.

    Args:
        credit_max: the region's limit, in minor units.
        owed: what the participant is owed, in millionths; below 0, what they owe.
        promised: what they may come to owe by contracts that are not settled yet, as buyer or seller; in millionths.
    """
    return millionths_of(credit_max) - max(0, -owed) - promised
