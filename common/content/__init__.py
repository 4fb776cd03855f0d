"""Content: bytes in, bytes out. Codecs and pure rules of data preparation.

Nothing here knows tasks, HTTP, databases or storages. Hot code keeps a CID as its 36 bytes (``bytes``) and touches
payload only through buffers; text forms appear at the edges. Every module stands alone
(``from common.content import car, piece``); this package re-exports nothing.

Sizes and offsets are bytes, as ``int``; CIDs are binary ``bytes``. The public doors:

==========  ======================================================================================================
varint      ``encode``, ``size``, ``decode(buffer, offset) -> (value, next offset)``
cid         ``of_raw``, ``of_dag_pb``, ``to_text``, ``from_text``, ``split(buffer, offset) -> (CidParts, next offset)``,
            ``verify(cid, data)``; ``RAW_PREFIX``, ``DAG_PB_PREFIX``, ``EMPTY_RAW``
profile     ``Profile`` (frozen), ``SINGULARITY``, ``UNIXFS_V1_2025``, ``named``
sizes       ``parse_size("31.5GiB")``
estimate    ``split_size``, ``ranges``, ``range_cost``, ``Grouping`` and ``group`` (scan), ``fill`` (push)
chunker     ``chunks(offset, length, chunk_size)``, ``chunk_count``
dagpb       ``Link``, ``Node``, ``encode_link``, ``encode_node``, ``decode_node`` (strict)
unixfs      ``Block``, ``Child``, ``leaf``, ``parents`` (nodes above the chunks of a range, or above the ranges of a file),
            ``node_lengths`` (before anything is hashed), ``reduce_tree`` (one tree over a whole file), ``decode_data``
murmur3     ``hash64``, ``hash64_many``
directory   ``Entry``, ``build``, ``DirectoryBuilder`` (a million entries in little memory); ``Directory``
walk        reading back: ``entries``, ``lookup``, ``segments`` of a byte range, ``file_size``, ``is_directory``
spool       ``BlockSpool``: blocks on disk, read back in order of CID, each once
scratch     ``unnamed_file``
car         ``header``, ``section_prefix``, ``section_length``, ``CarWriter``, ``CarReader``, ``read_section``, ``Limits``
index       ``IndexWriter``, ``IndexReader`` (MultihashIndexSorted, searched in the file)
piece       ``PieceHasher`` (a stream), ``SlabTree`` (slab roots in any order; ``save`` and ``load``), ``finish``,
            ``commitment``, ``lift``, ``zero_commitment``, ``piece_size_of``, ``padding_rule``; ``Piece``, ``Padding``
piececid    ``encode_v1``, ``encode_v2``, ``decode``, ``parse``, ``height_of``; ``PieceCid``
kernel      ``load``, ``compile``, ``describe``; ``Kernel``: ``hash_slots`` and ``slab_roots`` of a batch buffer
faults      the expected errors of all of these
==========  ======================================================================================================
"""
