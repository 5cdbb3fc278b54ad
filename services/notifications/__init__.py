"""What an account is told of. Owns the database `notifications`; publishes what it tells."""
