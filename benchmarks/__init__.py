"""Measurements: speed beside other implementations, learning proofs. Not part of the tests."""
