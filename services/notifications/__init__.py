"""What an account is told of. Owns the database `notifications`; publishes nothing."""
