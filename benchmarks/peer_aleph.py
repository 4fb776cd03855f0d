"""``aleph-cid``, in a virtual environment of its own, which knows nothing of ours.

::

    python peer_aleph.py serve                one request a line: {"file", "length"} -> {"seconds", "result", ...}
    python peer_aleph.py pack FOLDER CAR      prints the root CID
    python peer_aleph.py hash FOLDER          the same without a CAR
"""

import importlib
import json
import sys
import time
from pathlib import Path

aleph_cid = importlib.import_module("aleph_cid")  # of an environment of its own

READ_BYTES = 1 << 20


def serve() -> None:
    kept: dict[str, bytes] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["file"] not in kept:
            kept[asked["file"]] = Path(asked["file"]).read_bytes()
        data = memoryview(kept[asked["file"]])
        parts = [bytes(data[at : at + READ_BYTES]) for at in range(0, asked["length"], READ_BYTES)]
        spent = time.process_time()
        begin = time.perf_counter()
        hasher = aleph_cid.CidHasher.for_ipfs_v1_raw_leaves()
        for part in parts:
            hasher.update(part)
        result = hasher.finalize()
        told = {
            "seconds": time.perf_counter() - begin,
            "cpu_seconds": time.process_time() - spent,
            "result": result,
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    elif sys.argv[1] == "pack":
        print(aleph_cid.write_folder_car(sys.argv[2], sys.argv[3]))
    else:
        print(aleph_cid.hash_folder(sys.argv[2]))
