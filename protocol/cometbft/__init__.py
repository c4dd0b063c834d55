"""A light client of CometBFT 0.38: whether more than two thirds of the validators signed a header. Pure.

It stands in `protocol`, beside Merkle trees and checkpoints, because it is a proof like those: bytes, keys and an
instant in, a verdict out. Whoever holds a proof file needs it, not only who runs a node.

    protobuf   the few bytes of protobuf that get hashed or signed
    block      header, commit, validators, and what binds them
    rpc        strict readers of what a node's RPC answers
    spelling   a light block in the bytes of our own files
    light      who signed, and whether to go on from what is trusted

Written against the specification and the test vectors of v0.38.25 (docs/adr/0027-*.md).
"""
