"""COSEM, as meter and head-end share it: data types, A-XDR, classes as tables, profiles."""
