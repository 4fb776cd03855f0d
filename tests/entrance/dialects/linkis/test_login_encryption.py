"""Passwords encrypted on their way, as Linkis' console does it when the service asks for it."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from fake_service import PASSWORDS, FakeCore

from common.config import load
from entrance.app import create_app

LINKIS = "/api/rest_j/v1"


def test_a_password_encrypted_with_the_public_key_logs_in(tmp_path: Path) -> None:
    settings = load(environ={}, overrides={"service.data": str(tmp_path), "auth.login_encrypt": True})
    core = FakeCore(tmp_path, settings)
    client = create_app(core).test_client()
    told = client.get(f"{LINKIS}/user/publicKey").json["data"]
    assert told["enableLoginEncrypt"] is True
    assert isinstance(told["debugTime"], int)
    key = load_der_public_key(base64.b64decode(told["publicKey"]))
    assert isinstance(key, rsa.RSAPublicKey)

    def login(password: str) -> int:
        return client.post(f"{LINKIS}/user/login", json={"userName": "alice", "password": password}).status_code

    sealed = base64.b64encode(key.encrypt(PASSWORDS["alice"].encode(), padding.PKCS1v15())).decode()
    wrong = base64.b64encode(key.encrypt(b"wrong", padding.PKCS1v15())).decode()
    assert login(PASSWORDS["alice"]) == 400, "in clear"
    assert login(wrong) == 400
    assert login("AAAA") == 400
    assert login(sealed) == 200
    assert client.get(f"{LINKIS}/user/publicKey").json["data"]["publicKey"] == told["publicKey"]
    core.close()
