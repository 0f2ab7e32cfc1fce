"""Serve a bundle over HTTP with FastAPI and uvicorn. Without torch."""
