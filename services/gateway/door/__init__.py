"""What every request goes through on its way in, and every reply on its way out."""
