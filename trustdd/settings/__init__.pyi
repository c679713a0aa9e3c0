from . import defaults as defaults
from . import experiment as experiment
from . import randomness as randomness
from . import validation as validation
from .experiment import Experiment as Experiment
from .randomness import stream as stream
