"""Settings: the model, the types of the values, and the files and variables they are read from."""

from .masking import masked_url, masked_values
from .model import VARIABLES, Settings, SettingsError, check_workers
from .sources import describe_origin, export_overrides, get_raw, load, store_override

__all__ = [
    "VARIABLES",
    "Settings",
    "SettingsError",
    "check_workers",
    "describe_origin",
    "export_overrides",
    "get_raw",
    "load",
    "masked_url",
    "masked_values",
    "store_override",
]
