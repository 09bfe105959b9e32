"""How long a message of a stream may be, and what its first line looks like."""

import re
from typing import Final

MAX_MESSAGE_OCTETS: Final = 65_536  # as over UDP; larger ones are not framed
MAX_START_LINE_OCTETS: Final = 8_192

# Lenient, because a start line that is wrong is to be judged, not skipped.
START_LINE: Final = re.compile(rb"SIP/|[A-Za-z0-9.!%*_+`'~-]{1,32} [^\r\n ][^\r\n]*SIP/")
