"""What is done: events and alarms, commands, jobs, the audit chain."""
