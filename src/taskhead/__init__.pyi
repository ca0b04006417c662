from .method.adaptation import Adaptation, measure
from .method.batches import LabelledImages
from .method.energy import average_initial_energy
from .method.evaluation import evaluate
from .method.features import extract_features
from .method.finetuning import finetune
from .method.head_preparation import HeadPreparation
from .method.heads import make_head
from .method.learning_dynamics import OneStep, one_step_change
from .method.preparation import prepare_heads
from .method.prepared import EnergyNotReached, Prepared
from .models.backbones import pretrained_backbone
from .practice.recommend import Advice, BudgetTooShort, recommend

__version__: str
__all__ = [
    "Adaptation",
    "Advice",
    "BudgetTooShort",
    "EnergyNotReached",
    "HeadPreparation",
    "LabelledImages",
    "OneStep",
    "Prepared",
    "average_initial_energy",
    "evaluate",
    "extract_features",
    "finetune",
    "make_head",
    "measure",
    "one_step_change",
    "prepare_heads",
    "pretrained_backbone",
    "recommend",
]
