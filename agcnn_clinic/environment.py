"""Which variables of the environment are this software's."""

import os
import re
from collections.abc import Iterable

from agcnn_clinic.errors import ConfigError

ENVIRONMENT_PREFIX = "AGCNN_CLINIC_"
CONFIG_ENVIRONMENT_VARIABLE = "AGCNN_CLINIC_CONFIG"
_OF_A_CLUSTER = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
"""How names go on that a container platform gives each process where there are services called agcnn-clinic, or
agcnn-clinic-db: they say where each service is reached."""


def refuse_unknown_variables(sections: Iterable[str]) -> None:
    """Refuse what looks like a setting and is none: it was meant to change something, and would change nothing.

    Args:
        sections: those of config.toml; whether a section has the setting is seen when it is read.

    Raises:
        ConfigError: a variable begins as ours do, and is neither of a section, nor the configuration file's, nor a
            cluster's.
    """
    known = {f"{ENVIRONMENT_PREFIX}{section.upper()}" for section in sections}
    for variable in os.environ:
        name = variable.upper()
        if not name.startswith(ENVIRONMENT_PREFIX) or name.partition("__")[0] in known:
            continue
        if name != CONFIG_ENVIRONMENT_VARIABLE and not _OF_A_CLUSTER.fullmatch(name.removeprefix(ENVIRONMENT_PREFIX)):
            raise ConfigError(
                f"The environment has {variable}, which is no setting: {ENVIRONMENT_PREFIX}ANALYSIS__DEVICE, with two "
                "underscores, stands for device in [analysis]."
            )
