"""Recognise errors of libraries about memory, which have no class of their own."""

from __future__ import annotations

# Of torch on the CPU, onnxruntime, and C++'s allocator in both.
_ALLOCATION = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "Failed to allocate memory for requested buffer",
    "std::bad_alloc",
    "bad allocation",
)
# Of the loader of shared libraries, in the ImportError or OSError of whatever needs one.
_MAPPING = (
    "failed to map segment from shared object",
    "cannot map zero-fill pages",
    "Cannot allocate memory",
    "cannot allocate memory in static TLS block",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory cannot be allocated."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _ALLOCATION)


def is_unmapped_library(error: BaseException) -> bool:
    """Whether an error says that a library does not fit into the address space of this process."""
    return isinstance(error, ImportError | OSError) and any(text in str(error) for text in _MAPPING)
