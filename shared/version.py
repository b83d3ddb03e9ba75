"""Which version of PullSync this is: of every service, since they are deployed together."""

from typing import Final

VERSION: Final = "0.1.0"
