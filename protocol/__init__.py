"""Shared words, bytes and proofs of este. Pure: no clock, no socket, no disk, no dice."""
