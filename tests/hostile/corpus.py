"""All hostile files: importing this module fills `TABLE`."""

import headers
import pixels
import pngs
from table import TABLE, Hostile

__all__ = ["TABLE", "Hostile", "headers", "pixels", "pngs"]
