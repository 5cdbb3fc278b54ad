"""The suite on one machine: real servers from wheels, the services, and what keeps them up."""
