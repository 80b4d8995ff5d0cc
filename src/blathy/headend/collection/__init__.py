"""How meters are asked: schedules, conversations, retries, gaps."""
