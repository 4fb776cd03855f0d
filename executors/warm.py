"""What the fork server loads before the first task, so that all tasks share it and none pays for it again.

Loaded by its name. Measured for one pack: 40 ms for the compiler's library, which links the hashing kernel, 19 ms for the
text that its object code is found by, 4 ms for what it is tested with, 5 ms for the statements of the catalogue.
"""

from __future__ import annotations

from pathlib import Path

from common.content.kernel import jit, native, selftest
from common.db.catalogue import statements
from common.db.sql import Sql

if (_host := jit.host()) is not None:
    for _tier in native.LADDER:
        if _tier.supported(_host):
            jit.cache_path(Path(), _tier.name, _tier.ir(_host), _tier.target(_host))
            selftest.slab()
            break
for _statement in vars(statements).values():
    if isinstance(_statement, Sql):
        _ = _statement.text  # compiled when it is first asked for
