"""Thin asyncio shells around the protocol cores: TCP, UDP, serial lines, memory with faults."""
