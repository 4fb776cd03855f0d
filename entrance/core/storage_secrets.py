"""Which settings of a storage are secrets, and where they are: encrypted in a column of their own, masked everywhere else.

Secret are options whose names say so, the values of HTTP headers that are sent to the store, and the client's private key.
The encrypted text is a JSON object of the secret options; under ``clientConfig`` those of the ClientConfig.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.db.catalogue import StorageRecord
from common.storage.options import SECRET_OPTIONS
from common.storage.secrets import MASK, Secrets

_WORDS = ("secret", "pass", "token", "key")
_CLIENT = "clientConfig"
HEADERS, CLIENT_KEY = "headers", "clientKey"
CLIENT_SECRETS = (HEADERS, CLIENT_KEY)


@dataclass(frozen=True, kw_only=True)
class Split:
    """The settings of a storage: what is stored as it is, with masks in place of secrets, and the secrets."""

    config: dict[str, str]
    client: dict[str, Any]
    secrets: dict[str, Any]


def is_secret(option: str) -> bool:
    """Whether an option of a storage must never be shown."""
    return option in SECRET_OPTIONS or any(word in option.lower() for word in _WORDS)


def split(config: Mapping[str, str], client: Mapping[str, Any]) -> Split:
    """Take settings in clear apart."""
    secrets: dict[str, Any] = {key: value for key, value in config.items() if is_secret(key) and value}
    hidden = {key: client[key] for key in CLIENT_SECRETS if client.get(key)}
    if hidden:
        secrets[_CLIENT] = hidden
    return Split(config=masked_config(config), client=masked_client(client), secrets=secrets)


def join(record: StorageRecord, secrets: Secrets | None) -> tuple[dict[str, str], dict[str, Any]]:
    """Return config and ClientConfig of a storage in clear; without ``secrets`` as they are stored."""
    config, client = dict(record.config), dict(record.client_config)
    if record.secrets is not None and secrets is not None:
        hidden = json.loads(secrets.decrypt(record.secrets))
        client |= hidden.pop(_CLIENT, {})
        config |= hidden
    return config, client


def masked_config(config: Mapping[str, str]) -> dict[str, str]:
    """Return options with a mask in place of each secret that is set."""
    return {key: MASK if value and is_secret(key) else value for key, value in config.items()}


def masked_client(client: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ClientConfig with a mask in place of each secret that is set; the names of headers stay."""
    shown = dict(client)
    if shown.get(HEADERS):
        shown[HEADERS] = dict.fromkeys(shown[HEADERS], MASK)
    if shown.get(CLIENT_KEY):
        shown[CLIENT_KEY] = MASK
    return shown


def merged_config(known: Mapping[str, str], sent: Mapping[str, str]) -> dict[str, str]:
    """Return options with those that were sent in place of the known ones; a mask changes nothing."""
    return {**known, **{key: value for key, value in sent.items() if value != MASK}}


def merged_client(known: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ClientConfig with what was sent in place of what is known; a mask, of a header too, keeps what is known."""
    merged = {**known, **{key: value for key, value in sent.items() if value != MASK}}
    if HEADERS in sent:
        before = known.get(HEADERS) or {}
        named = {name: before.get(name) if value == MASK else value for name, value in sent[HEADERS].items()}
        merged[HEADERS] = {name: value for name, value in named.items() if value is not None}
    return merged
