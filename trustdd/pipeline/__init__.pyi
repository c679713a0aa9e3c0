from . import completion as completion
from . import work as work
from .completion import complete as complete
from .completion import complete_all as complete_all
from .work import run_stage as run_stage
