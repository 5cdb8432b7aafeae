"""HTML and SVG of logs and histories, for notebooks."""

from sklearn_seqcrm.events._html._drawing import places
from sklearn_seqcrm.events._html._histories import (
    HistoryContent,
    histories_html,
    history_html,
)
from sklearn_seqcrm.events._html._log import log_html
