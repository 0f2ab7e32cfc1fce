"""A bundle as a service: over HTTP with FastAPI and uvicorn, or as a Triton model repository. No torch."""
