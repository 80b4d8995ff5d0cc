"""COSEM: data types, A-XDR, interface classes as tables, profiles as columns. Shared by meter and head-end."""
