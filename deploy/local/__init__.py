"""The suite on one machine: real servers from wheels, the four services, and what keeps them running."""
