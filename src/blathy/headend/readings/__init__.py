"""What was read: ingest, the store of meter-channel-days, queries, validation, exports."""
