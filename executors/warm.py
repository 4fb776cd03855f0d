"""What the fork server loads before the first task, so that all tasks share it and none pays for it again.

Loaded by its name. Measured for one pack: 40 ms for the compiler's library, which links the hashing kernel, 17 ms for the
text that its object code is found by, 5 ms for the statements of the catalogue.
"""

from __future__ import annotations

from common.content.kernel import jit, native
from common.db.catalogue import statements
from common.db.sql import Sql

if (_host := jit.host()) is not None:
    for _tier in native.LADDER:
        if _tier.supported(_host):
            _tier.ir(_host)
            break
for _statement in vars(statements).values():
    if isinstance(_statement, Sql):
        _ = _statement.text  # compiled when it is first asked for
