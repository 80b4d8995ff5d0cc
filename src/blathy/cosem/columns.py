"""Profiles as tables: the public door to decoding, encoding and the decoded profile."""

from __future__ import annotations

from blathy.cosem.profile import Column, Profile, ProfileError, ProfileTimes
from blathy.cosem.profile_decoding import decode_profile
from blathy.cosem.profile_encoding import (
    OutColumn,
    encode_compact_profile,
    encode_profile,
    periodic,
    repeats,
)

__all__ = [
    "Column",
    "OutColumn",
    "Profile",
    "ProfileError",
    "ProfileTimes",
    "decode_profile",
    "encode_compact_profile",
    "encode_profile",
    "periodic",
    "repeats",
]
