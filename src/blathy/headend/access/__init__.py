"""Who may do what: users, sessions, roles."""
