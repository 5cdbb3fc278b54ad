"""Live streams: what happens to an account, told to it as it happens. They end in the gateway."""
