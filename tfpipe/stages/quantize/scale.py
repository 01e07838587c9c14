"""The scale of a trained network's logits, brought back to that of float32."""

import keras

from tfpipe.core.config import Config
from tfpipe.core.files import read_json
from tfpipe.core.inputs import ModelInput
from tfpipe.core.workspace import Workspace
from tfpipe.data.arrays import RowFile
from tfpipe.data.records import Records
from tfpipe.quantization.precisions import scale_logits
from tfpipe.stages.evaluate.predictions import compiled, predict
from tfpipe.training.temperature import fit_temperature, is_at_bound


def match_scale(network: keras.Model, model_input: ModelInput, config: Config, workspace: Workspace) -> float:
    """Multiply the logits such that the temperature which fits them on validation is the one that fits float32's.

    Soft labels at a high temperature make a network less sure than the fine-tuned one that it came from, and the
    calibration that travels with an export is that one's. No answer changes.

    Returns:
        The factor; 1, where validation has no best temperature for one of the two.
    """
    records = Records(workspace.records_dir(config), "validation", config.data.region)
    file = RowFile(workspace.step_dir(config, "quantize") / "aware-validation.f32", network.output_shape[-1])
    predict(compiled(network), records, model_input, file, f"quantize {config.name}: validation")
    of_float32 = read_json(workspace.calibration_path(config))["fitted_temperature"]
    of_trained = fit_temperature(file.read(), records.facts()[2])
    file.path.unlink()
    if is_at_bound(of_float32) or is_at_bound(of_trained):
        return 1.0
    factor = float(of_float32 / of_trained)
    scale_logits(network, factor)
    return factor
