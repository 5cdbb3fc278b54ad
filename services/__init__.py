"""The four services: one package, one image, one Deployment, one database each."""
