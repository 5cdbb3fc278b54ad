"""What the suite is compared with; each is written as its own documentation recommends."""
