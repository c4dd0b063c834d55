"""Reading settings files. All that is wrong with one is told at once: file, line and column, key, expected, got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config import yaml_text
from config.meter_profile import MeterProfile
from config.model import Model, guess
from protocol.errors import EsteError, OperatorError

M = TypeVar("M", bound=Model)

FILE_BYTES_MAX: Final = 64 << 20
"""A settings file larger than this is something else."""

METERS_FOLDER: Final = Path(__file__).parent / "meters"
"""The meter profiles that come with este."""

GRIDS_FOLDER: Final = Path(__file__).parent / "grids"
"""The example regions that come with este."""


class SettingsError(EsteError):
    """Everything that is wrong with one settings file."""

    def __init__(self, mistakes: tuple[OperatorError, ...]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(map(str, mistakes)))


def load(path: Path, kind: type[M]) -> M:
    """Read one settings file.

    Relative paths in it are meant from its own folder.

    Raises:
        SettingsError: the file is missing, is not YAML, or breaks rules of `kind`; all of them are told.
    """
    return _built(_document(_read_text(path), path), kind, path)


def check(document: object, kind: type[M], place: Path | str) -> M:
    """Build `kind` from what a file said.

    Raises:
        SettingsError: it breaks rules of `kind`.
    """
    return _built(yaml_text.Document(document, None), kind, place)


def grid_file(wanted: Path, option: str = "--grid") -> Path:
    """The grid file that somebody means: a path, or the name of an example region that comes with este.

    A folder that is called so is none, such as the one that a region was founded in.

    Raises:
        OperatorError: neither is there; `option` is where on the command line it was named.
    """
    if wanted.is_file() or wanted.suffix or len(wanted.parts) > 1:
        return wanted
    included = {path.stem: path for path in sorted(GRIDS_FOLDER.glob("*.yaml"))}
    if wanted.name not in included:
        expected = f"a grid file, or an example region: {', '.join(included)}"
        raise OperatorError("command line", option, expected, str(wanted))
    return included[wanted.name]


class Profiles(Mapping[str, MeterProfile]):
    """Meter profiles by id. Those that come with este are read when they are asked for: a gateway needs few."""

    def __init__(self, replaced: Mapping[str, MeterProfile]) -> None:
        """`replaced` stand beside those that come with este, and before them."""
        self._replaced = replaced
        self._shipped = {path.stem: path for path in sorted(METERS_FOLDER.glob("*.yaml"))}

    def __getitem__(self, id_: str) -> MeterProfile:
        return self._replaced[id_] if id_ in self._replaced else _shipped_profile(self._shipped[id_])

    def __contains__(self, id_: object) -> bool:
        return id_ in self._replaced or id_ in self._shipped

    def __iter__(self) -> Iterator[str]:
        return iter({**self._shipped, **self._replaced})

    def __len__(self) -> int:
        return len({**self._shipped, **self._replaced})


def load_profiles(folders: tuple[Path, ...] = ()) -> Profiles:
    """All meter profiles: those that come with este, then those of `folders`, which may replace them.

    Raises:
        SettingsError: a profile of `folders` is wrong, or its file is not named after it.
    """
    own = {}
    for folder in folders:
        if not folder.is_dir():
            raise SettingsError((OperatorError(folder, "", "a folder of meter profiles", "no such folder"),))
        own.update({path.stem: load_profile(path) for path in sorted(folder.glob("*.yaml"))})
    return Profiles(own)


@cache
def _shipped_profile(path: Path) -> MeterProfile:
    return load_profile(path)


def load_profile(path: Path) -> MeterProfile:
    """Read one meter profile.

    Raises:
        SettingsError: it is wrong, or its file is not named after it; all mistakes are told.
    """
    return read_profile(_read_text(path), path)


def read_profile(text: str, path: Path) -> MeterProfile:
    """Read a meter profile that may not stand in its file yet.

    Raises:
        SettingsError: it is wrong, or `path` is not named after it; all mistakes are told.
    """
    profile = _built(_document(text, path), MeterProfile, path)
    if profile.id != path.stem:
        raise SettingsError((OperatorError(path, "id", f"the file's own name {path.stem!r}", repr(profile.id)),))
    return profile


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise SettingsError((OperatorError(path, "", f"at most {FILE_BYTES_MAX} bytes", "more"),))
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError((OperatorError(path, "", "a settings file", "no such file"),)) from error
    except OSError as error:
        raise SettingsError((OperatorError(path, "", "a readable text file", error.strerror or str(error)),)) from error
    except UnicodeDecodeError as error:
        raise SettingsError((OperatorError(path, "", "a text file in UTF-8", str(error)),)) from error


def _document(text: str, path: Path) -> yaml_text.Document:
    try:
        return yaml_text.read(text)
    except yaml_text.NotYaml as error:
        mistake = OperatorError(path, "", error.expected, error.got, position=error.position)
        raise SettingsError((mistake,)) from error


def _built(document: yaml_text.Document, kind: type[M], place: Path | str) -> M:
    try:
        model = kind.model_validate(document.value)
    except ValidationError as error:
        raise SettingsError(tuple(_mistake(place, detail, kind, document) for detail in error.errors())) from error
    return _anchored(model, Path(place).resolve().parent)


def _mistake(place: Path | str, detail: ErrorDetails, kind: type[Model], document: yaml_text.Document) -> OperatorError:
    key_path = ".".join(map(str, detail["loc"]))
    match detail["type"]:
        case "missing":
            expected, got = "a value", "nothing"
        case "model_type":
            expected, got = "keys and their values, such as `key: value`", _shown(detail["input"])
        case "extra_forbidden":
            expected, got = f"a known key{_nearest(kind, detail['loc'])}", "one that is unknown"
        case "este":
            expected, got = detail["msg"], detail["ctx"].get("got") or _shown(detail["input"])
        case _:
            expected, got = detail["msg"].removeprefix("Input should be "), _shown(detail["input"])
    return OperatorError(place, key_path, expected, got, position=document.position_of(detail["loc"]))


def _shown(given: object) -> str:
    """What a file says somewhere, in short."""
    match given:
        case None:
            return "nothing"
        case dict():
            return f"a section with {', '.join(map(str, given)) or 'nothing in it'!s:.60}"
        case Decimal():
            return f"{given!s:.60}"
        case _:
            return f"{given!r:.60}"


def _nearest(kind: type[Model], loc: tuple[int | str, ...]) -> str:
    """A guess at the key that was meant."""
    return guess(str(loc[-1]), _keys_below(kind) - {str(loc[-1])})


def _keys_below(kind: type[Model]) -> set[str]:
    keys = set(kind.model_fields)
    for field in kind.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Model):
                keys |= _keys_below(part)
    return keys


def _anchored(model: M, folder: Path) -> M:
    """Make the relative paths of a model absolute."""
    changes = {}
    for key in type(model).model_fields:
        value = getattr(model, key)
        anchored = _anchor(value, folder)
        if anchored is not value:
            changes[key] = anchored
    return model.model_copy(update=changes) if changes else model


def _anchor(value: Any, folder: Path) -> Any:
    match value:
        case Path():
            return value if value.is_absolute() else folder / value
        case Model():
            return _anchored(value, folder)
        case tuple():
            anchored = tuple(_anchor(item, folder) for item in value)
            return anchored if any(a is not b for a, b in zip(anchored, value, strict=True)) else value
        case _:
            return value
