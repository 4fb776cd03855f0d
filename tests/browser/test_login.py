"""Who gets in, and out."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from browser.stage import Tab
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from factories import PASSWORD

pytestmark = pytest.mark.needs("chromium")


def test_a_wrong_password_is_told_the_right_one_opens_the_tasks_and_logging_out_ends_the_session(
    enter: Callable[..., Tab],
) -> None:
    tab = enter(None)
    tab.allowed += ["400 (BAD REQUEST)", "401 (UNAUTHORIZED)"]  # how the browser tells of a refusal
    page = tab.go()
    page.get_by_label("User name").fill("Ann")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("wrong user name or password!").wait_for()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Tasks", exact=True).wait_for()
    assert page.get_by_text("Administrator").is_visible()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    assert page.evaluate("fetch('/api/rest_j/v1/user/userInfo').then((r) => r.status)") == 401


def test_a_session_that_ended_elsewhere_leads_to_the_login(enter: Callable[..., Tab]) -> None:
    tab = enter("bob")
    tab.allowed.append("401 (UNAUTHORIZED)")
    page = tab.go("tasks")
    page.get_by_role("heading", name="Tasks", exact=True).wait_for()
    page.context.clear_cookies()
    page.evaluate("location.hash = '#/preparations'")  # a look at the tasks may have led there already, without the links
    page.get_by_role("heading", name="Log in").wait_for()


def test_passwords_are_encrypted_as_the_service_decrypts_them(tab: Tab) -> None:
    key = rsa.generate_private_key(65537, 2048)
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    page = tab.go()
    sent = page.evaluate(
        "([password, key]) => import('/console/js/rsa.js').then((rsa) => rsa.encrypted(password, key))",
        ["pässwort 密码", public],
    )
    assert key.decrypt(base64.b64decode(sent), padding.PKCS1v15()).decode() == "pässwort 密码"
