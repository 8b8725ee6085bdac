"""The settings of an application: the table of all of them, and the object that holds values.

`Settings` is what ``app.conf`` is. `TABLE` knows every setting; the reference page is made from
it. `mask_url` takes passwords out of a URL before it is shown anywhere.
"""

from umbel.settings.censor import censor
from umbel.settings.conf import Found, Settings
from umbel.settings.kinds import as_seconds
from umbel.settings.masking import mask_url
from umbel.settings.setting import Setting
from umbel.settings.store import Hooks
from umbel.settings.table import SECTIONS, TABLE

__all__ = [
    "SECTIONS",
    "TABLE",
    "Found",
    "Hooks",
    "Setting",
    "Settings",
    "as_seconds",
    "censor",
    "mask_url",
]
