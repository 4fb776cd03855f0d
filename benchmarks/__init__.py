"""How fast preparing data is here, beside other programs on the same inputs in the same run: ``benchmarks/run``.

Groups of measures, each a module with a function ``measures``::

    limits     what the machine gives: reading, writing, opening files
    kernels    the hash loops of ``common.content``: CommP, leaves, directories, against hashlib and packages
    large      one large file through the running service: prepare, pack, hash-only, to disk
    small      many small files through the running service
    scanning   a great many tiny files: scan, pack, daggen
    growth     how the cost of a byte and of a file changes with their number

``measure`` takes samples in turn and makes rows of ratios, ``ours`` runs the service as a user does, ``peers`` installs and
runs the other programs, ``inputs`` makes files, ``sizes`` says how many, ``table`` prints. Nothing here decides anything:
the claims of ``bin/prove`` do.
"""
