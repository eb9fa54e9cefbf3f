"""eqlin: the equivalent linear map of a language model at one prompt.

Names are loaded when they are first used, so that code that only draws (``eqlin_core.figures``) never waits for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eqlin_core.errors import Cancelled, EqlinError
from eqlin_core.version import __version__ as __version__

if TYPE_CHECKING:
    from eqlin_core.analysis.answer import answer_run, continue_text
    from eqlin_core.analysis.prompt import spectrum_run, token_run
    from eqlin_core.analysis.ranks import joint_run
    from eqlin_core.analysis.verification import verify_run
    from eqlin_core.attribution.group_deletion import group_deletion
    from eqlin_core.attribution.prompts import prompt_list
    from eqlin_core.attribution.study import faithfulness
    from eqlin_core.attribution.unfreezing import HiddenEffects, hidden_effects
    from eqlin_core.attribution.validity import Counterfactual, Validity, counterfactual, validity
    from eqlin_core.layers.heads import DirectContributions, direct_contributions, head_contributions
    from eqlin_core.layers.results import LayerSweep
    from eqlin_core.layers.sweep import layer_sweep
    from eqlin_core.lenses.cosines import lens_cosines
    from eqlin_core.lenses.files import load_lens
    from eqlin_core.lenses.fitting import fit_lens
    from eqlin_core.lenses.lens import Lens
    from eqlin_core.lenses.merging import merge_lenses
    from eqlin_core.lenses.readouts import LensReadout, read_lens
    from eqlin_core.linalg.krylov import Triplets
    from eqlin_core.maps.answers import AnswerSplit, answer_split
    from eqlin_core.maps.linear_map import LinearMap
    from eqlin_core.maps.linearization import linearize
    from eqlin_core.maps.ordinary import ordinary_jacobian
    from eqlin_core.maps.partial_freezing import PartlyFrozen, partly_frozen
    from eqlin_core.maps.precision import PrecisionCheck, precision_check
    from eqlin_core.maps.targets import direction
    from eqlin_core.maps.together import MapsTogether, linearize_together
    from eqlin_core.models.language_model import LanguageModel
    from eqlin_core.models.loading import load_model
    from eqlin_core.models.readout import read_input, read_output
    from eqlin_core.models.sites import Site
    from eqlin_core.models.texts import read_text
    from eqlin_core.models.weights import weights_of
    from eqlin_core.reports.code import page_code, page_notebook
    from eqlin_core.reports.contents import Report
    from eqlin_core.reports.paper import save_figure
    from eqlin_core.reports.provenance import provenance_of
    from eqlin_core.reports.reading import read_report
    from eqlin_core.reports.report import report_html, write_report
    from eqlin_core.reports.view import View
    from eqlin_core.resources.answers import AnswerPlan, plan_answer
    from eqlin_core.resources.plan import Plan, plan_run
    from eqlin_core.runs.answer import AnswerRun
    from eqlin_core.runs.chat import read_chat, write_chat
    from eqlin_core.runs.compare import RunComparison, compare_runs
    from eqlin_core.runs.convention import Convention
    from eqlin_core.runs.exactness import Exactness
    from eqlin_core.runs.faithfulness import Faithfulness
    from eqlin_core.runs.files import load_run, save_run
    from eqlin_core.runs.groups import Group, groups_of
    from eqlin_core.runs.split import Split
    from eqlin_core.runs.subspaces import principal_angles
    from eqlin_core.runs.text import RunText
    from eqlin_core.spectra.result import RefinedSpectrum, Spectrum
    from eqlin_core.spectra.spectrum import spectrum
    from eqlin_core.spectra.triplets import top_triplets
    from eqlin_core.spectra.truncation import Truncation, truncate
    from eqlin_core.steering.flips import flip_strength
    from eqlin_core.steering.generation import Generation
    from eqlin_core.steering.operators import (
        SteeringOperator,
        load_operator,
        operator_angle,
        random_operator,
        steering_operator,
    )
    from eqlin_core.steering.steer import SteeringSweep, steer, steering_sweep
    from eqlin_core.studies.on_ray import RayWorkers
    from eqlin_core.studies.prompts import StudyPrompt, study_prompts
    from eqlin_core.studies.reading import Study, load_study
    from eqlin_core.studies.study import plan_study, run_study

# The room of every public name; type checkers read the same from the imports above, and a test holds them together.
_HOME = {
    # models and what they read
    "LanguageModel": "models.language_model",
    "load_model": "models.loading",
    "read_input": "models.readout",
    "read_output": "models.readout",
    "RunText": "runs.text",
    "read_text": "models.texts",
    "read_chat": "runs.chat",
    "write_chat": "runs.chat",
    "Site": "models.sites",
    # the map of a prompt
    "LinearMap": "maps.linear_map",
    "linearize": "maps.linearization",
    "MapsTogether": "maps.together",
    "linearize_together": "maps.together",
    "Convention": "runs.convention",
    "direction": "maps.targets",
    "ordinary_jacobian": "maps.ordinary",
    "AnswerSplit": "maps.answers",
    "answer_split": "maps.answers",
    "PartlyFrozen": "maps.partial_freezing",
    "partly_frozen": "maps.partial_freezing",
    "PrecisionCheck": "maps.precision",
    "precision_check": "maps.precision",
    "Exactness": "runs.exactness",
    "Plan": "resources.plan",
    "plan_run": "resources.plan",
    "AnswerPlan": "resources.answers",
    "plan_answer": "resources.answers",
    # what is in it
    "RefinedSpectrum": "spectra.result",
    "Spectrum": "spectra.result",
    "spectrum": "spectra.spectrum",
    "Triplets": "linalg.krylov",
    "top_triplets": "spectra.triplets",
    "Truncation": "spectra.truncation",
    "truncate": "spectra.truncation",
    # layers and heads
    "LayerSweep": "layers.results",
    "layer_sweep": "layers.sweep",
    "DirectContributions": "layers.heads",
    "direct_contributions": "layers.heads",
    "head_contributions": "layers.heads",
    # lenses: averages of maps over a corpus
    "Lens": "lenses.lens",
    "fit_lens": "lenses.fitting",
    "merge_lenses": "lenses.merging",
    "load_lens": "lenses.files",
    "LensReadout": "lenses.readouts",
    "read_lens": "lenses.readouts",
    "lens_cosines": "lenses.cosines",
    # what a split of a prediction is worth
    "Split": "runs.split",
    "faithfulness": "attribution.study",
    "Faithfulness": "runs.faithfulness",
    "prompt_list": "attribution.prompts",
    "HiddenEffects": "attribution.unfreezing",
    "hidden_effects": "attribution.unfreezing",
    "group_deletion": "attribution.group_deletion",
    "Validity": "attribution.validity",
    "validity": "attribution.validity",
    "Counterfactual": "attribution.validity",
    "counterfactual": "attribution.validity",
    # many prompts
    "StudyPrompt": "studies.prompts",
    "study_prompts": "studies.prompts",
    "run_study": "studies.study",
    "plan_study": "studies.study",
    "RayWorkers": "studies.on_ray",
    "Study": "studies.reading",
    "load_study": "studies.reading",
    # steering
    "SteeringOperator": "steering.operators",
    "steering_operator": "steering.operators",
    "load_operator": "steering.operators",
    "operator_angle": "steering.operators",
    "random_operator": "steering.operators",
    "Generation": "steering.generation",
    "steer": "steering.steer",
    "SteeringSweep": "steering.steer",
    "steering_sweep": "steering.steer",
    "flip_strength": "steering.flips",
    # runs: results as plain arrays, and their files
    "token_run": "analysis.prompt",
    "AnswerRun": "runs.answer",
    "answer_run": "analysis.answer",
    "continue_text": "analysis.answer",
    "Group": "runs.groups",
    "groups_of": "runs.groups",
    "spectrum_run": "analysis.prompt",
    "joint_run": "analysis.ranks",
    "load_run": "runs.files",
    "save_run": "runs.files",
    "compare_runs": "runs.compare",
    "RunComparison": "runs.compare",
    "principal_angles": "runs.subspaces",
    # reports: runs in one file for people, which proves what it shows
    "write_report": "reports.report",
    "report_html": "reports.report",
    "read_report": "reports.reading",
    "Report": "reports.contents",
    "save_figure": "reports.paper",
    "provenance_of": "reports.provenance",
    "View": "reports.view",
    "page_code": "reports.code",
    "page_notebook": "reports.code",
    "verify_run": "analysis.verification",
    "weights_of": "models.weights",
}

__all__ = ["Cancelled", "EqlinError", *_HOME]  # noqa: PLE0604 - they are strings


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
