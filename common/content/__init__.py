"""Content: bytes in, bytes out. Codecs and pure rules of data preparation.

Nothing here knows tasks, HTTP, databases or storages. Hot code keeps a CID as its 36 bytes (`bytes`) and
touches payload only through buffers; text forms appear at the edges. Every module is importable alone
(`from common.content import car, piece`); this package re-exports nothing.

Modules and their public doors (sizes and offsets are bytes, ``int``; CIDs are binary ``bytes``):

=============  =======================================================================================
varint         ``encode(n)``, ``size(n)``, ``decode(buffer, offset) -> (value, next_offset)``
cid            ``RAW_PREFIX``, ``DAG_PB_PREFIX``, ``CID_LENGTH``; ``of_raw(data)``, ``of_dag_pb(block)``,
               ``to_text(cid)``, ``from_text(text)``, ``split(buffer, offset) -> CidParts``,
               ``matches(cid, data)``, ``EMPTY_RAW``
profile        ``Profile`` (frozen), ``SINGULARITY``, ``UNIXFS_V1_2025``, ``named(name)``
chunker        ``chunks(offset, length, chunk_size) -> Iterator[Chunk]``, ``chunk_count``
dagpb          ``Link``, ``Node``; ``encode_link``, ``encode_node``, ``decode_node`` (strict)
unixfs         ``Child``, ``Block``; ``leaf``, ``file_node(children, profile)``,
               ``parents(children, profile)`` (level by level, root last), ``reduce_tree`` (whole-file trees),
               ``node_lengths(...)`` (lengths of link nodes before anything is hashed), ``decode_data``
murmur3        ``hash64(name)`` and ``hash64_many(names)`` (numpy)
directory      ``Entry``, ``build(entries, profile)`` (flat or HAMT), ``DirectoryBuilder`` (a million entries,
               spills to a folder), both yield ``Block`` and end with ``Directory(cid, cumulative_size, sharded)``
walk           read side: ``entries(cid, get_block)``, ``lookup``, ``segments`` (leaves of a byte range)
spool          ``BlockSpool``: blocks to a temporary file, read back in order of CID, each once
car            ``HEADER_LENGTH``, ``header(root)``, ``section_prefix(cid, length)``, ``section_length(length)``,
               ``CarWriter``, ``CarReader`` (limits; stops at the zero padding), ``Section``
index          CARv2 MultihashIndexSorted: ``IndexWriter``, ``IndexReader`` (binary search in the file)
piece          FR32, CommP: ``PieceHasher`` (stream), ``SlabTree`` (slab roots in any order, resumable),
               ``zero_commitment``, ``lift``, ``piece_size_of``, ``padding_rule`` (contract 5.6)
piececid       ``encode_v1``, ``encode_v2``, ``decode -> PieceCid``
estimate       ``split_size``, ``ranges``, ``range_cost``, ``Grouping`` (scan), ``fill`` (push)
sizes          ``parse_size("31.5GiB")``
kernel         ``Kernel`` (``hash_slots``, ``slab_roots``), ``load(...)``, ``compile(...)``, ``describe()``
faults         the expected errors of all of these
=============  =======================================================================================
"""
