"""Articles, comments, favourites and tags. Owns the database `content`; publishes `content.*`."""
