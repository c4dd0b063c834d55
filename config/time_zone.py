"""Time zones as all nodes have them: from the pinned `tzdata` package, whatever the machine's own files say.

Months begin at a region's midnight. Python looks for zones in the machine's files first, and two machines that were
brought up to date on different days would cut a month at different instants, and disagree about all that follows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}", re.ASCII)


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name of the tz database.

    Raises:
        ZoneInfoNotFoundError: there is none.
    """
    if not _NAME.fullmatch(name):
        raise ZoneInfoNotFoundError(name)
    try:
        with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError) as error:
        raise ZoneInfoNotFoundError(name) from error
