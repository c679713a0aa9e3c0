from . import detection as detection
from . import detectors as detectors
from . import metrics as metrics
from . import scores as scores
from . import training as training
from .detection import detect as detect
from .metrics import ood_metrics as ood_metrics
from .training import train_student as train_student
