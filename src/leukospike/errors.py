"""Errors that speak to the user.

Every message follows one template, on one line::

    <where>: <argument> must be <rule>, got <value>. <what to do next>

Each class has a builtin as second parent, so that a caller who knows nothing of this package can still catch it.
"""


class LeukospikeError(Exception):
    """Anything this package raises on purpose; the command line prints its message and exits with status 2."""


class ImageError(LeukospikeError, ValueError):
    """One image cannot be used; the message is the reason alone, since whoever reads many files knows the name."""


class DataError(LeukospikeError, ValueError):
    """A folder or manifest is not a data set that can be used for what was asked."""


class LayoutError(DataError):
    """A folder is of no known layout, so that nobody can say what its images' labels are."""


class SplitError(LeukospikeError, ValueError):
    """The records cannot be split as asked."""


class ConfigError(LeukospikeError, ValueError):
    """A setting is unknown or impossible."""


class WeightsError(LeukospikeError, ValueError):
    """A weights file or run folder does not hold a usable model."""


class RunError(LeukospikeError, RuntimeError):
    """A run folder is in a state that does not allow what was asked."""


class FetchError(LeukospikeError, RuntimeError):
    """A download failed or did not match its checksum."""


class ExportError(LeukospikeError, RuntimeError):
    """A model cannot be said in another program's form."""
