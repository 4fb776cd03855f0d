"""How a pack job becomes a CAR.

=============  =======================================================================================
trees          file trees over ranges: what a range leaves for the tree of its file
layout         where every block of a job lies in its CAR, before anything is hashed
batches        batch buffers that are pieces of the CAR: read into slots, hash, link nodes, write
journal        the digests of a CAR in order, beside the partial file: what a later attempt needs
inline         CARs that are never written: their index and link nodes
=============  =======================================================================================
"""
