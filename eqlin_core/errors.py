"""The exceptions of the engine. Every message is one sentence that says what to do."""


class EqlinError(Exception):
    """Something the person who called can mend; the message says how."""


class InvalidValue(EqlinError, ValueError):
    """An argument of the right type with a value that nothing can be done with."""


class InvalidType(EqlinError, TypeError):
    """An argument of a type that is not taken."""


# What the allocators and libraries of the devices say: torch's own class is not raised for all of them.
_NO_MEMORY = (
    "allocate memory",
    "out of memory",
    "not enough memory",
    "Invalid buffer size",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_INSUFFICIENT_RESOURCES",
    "CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says, in the words of whichever device it comes from, that the memory does not suffice."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


class Cancelled(EqlinError):
    """The computation was cancelled from its progress callback; nothing was changed."""

    def __init__(self, message: str = "The computation was cancelled.") -> None:
        super().__init__(message)
