"""A look without SQLAlchemy sees what the stores have written."""

from pathlib import Path

from common.db.accounts import Accounts
from common.db.database import short_write
from common.db.migrate import upgrade
from common.db.peek import has_administrator


def test_an_administrator_is_seen_and_nothing_else_is_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "entrance.db"
    assert not has_administrator(path)
    assert not path.exists()
    upgrade(path)
    assert not has_administrator(path)
    with short_write(path) as tx:
        Accounts(tx).add_user("someone", "", admin=False, now=1)
    assert not has_administrator(path)
    with short_write(path) as tx:
        Accounts(tx).add_user("root", "", admin=True, now=2)
    assert has_administrator(path)
    path.write_bytes(b"no database at all" * 100)
    assert not has_administrator(path)
