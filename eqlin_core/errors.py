"""The exceptions of the engine. Every message is one sentence that says what to do."""


class EqlinError(Exception):
    """Something the person who called can mend; the message says how."""


class InvalidValue(EqlinError, ValueError):
    """An argument of the right type with a value that nothing can be done with."""


class InvalidType(EqlinError, TypeError):
    """An argument of a type that is not taken."""


class Cancelled(EqlinError):
    """The computation was cancelled from its progress callback; nothing was changed."""

    def __init__(self, message: str = "The computation was cancelled.") -> None:
        super().__init__(message)
