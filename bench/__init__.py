"""Benchmarks beside their peers, in the same run: `python -m bench [name…]`.

A module of this package takes part when it has `run() -> list[dict]`. Each dict is one line:
`work` (what is done), `figure` (ours), `unit`, `goal`, `peer` (who else was measured) and
`peer_figure`. GPL and other peers run in processes of their own (`bench/peers/`).
"""
