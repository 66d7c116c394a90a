"""The one exception hierarchy. Texts name things by pseudonym or count, never by an identified value.

Permanent errors are tried once; transient ones are worth another attempt. The type says which, and the asset layer
turns it into Dagster's retry behaviour.
"""


class MedillusError(Exception):
    """Base of every error that this package raises on purpose: what was wrong, with what, and what to do."""


class PermanentError(MedillusError):
    """Trying again changes nothing: the input or the configuration has to change first."""


class TransientError(MedillusError):
    """A store, a database or a server did not answer: the same attempt may succeed later."""


class ConfigurationError(PermanentError):
    """A setting is missing, malformed or contradicts another one."""


class InputError(PermanentError):
    """A delivery, batch or file cannot be used as it is."""


class StoreError(TransientError):
    """A zone cannot be read or written: disk full, no permission, no answer from the object store."""


class NotEnoughDataError(PermanentError):
    """There is too little published data for the step, for example fewer patients than the split needs."""


class GateError(PermanentError):
    """A gate did not hold; nothing was published and the previous version stays in force."""
