"""The MQTT broker, and how it is known: the same for every program that meets it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from config.model import Model, mistake
from config.settings.places import FilePath, Host, Port


class Tls(Model):
    """How to know the broker, and how to be known by it."""

    ca_file: FilePath
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise mistake("certificate_file and key_file together", "one of them alone")
        return self


class Broker(Model):
    """Where the MQTT broker listens."""

    host: Host
    port: Port = 1883
    tls: Tls | None = None
    username: str | None = None
    password_file: FilePath | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
