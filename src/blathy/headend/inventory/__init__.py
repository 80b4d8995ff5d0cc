"""What there is: stations, feeders, points, meters, keys, groups and invocation counters."""
