"""Point clouds from and to files, keeping all that a file holds."""

from ..formats import FORMATS
from .cloud import Cloud
from .files import check_target, read_cloud, remove_partials, write_cloud

__all__ = ["FORMATS", "Cloud", "check_target", "read_cloud", "remove_partials", "write_cloud"]
