"""Make the stored run folder and its expected values anew: `.venv/bin/python tests/golden/regenerate.py`.

To be run only when a method changes, with the reason in the commit; a release adds a folder and keeps the old ones.
"""

import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from leukospike.datasets import read_dataset
from leukospike.experiments.folder import RunFolder
from leukospike.experiments.preparation import prepare
from leukospike.experiments.run import run_experiment
from leukospike.original.components import fit_components
from leukospike.original.front_end import SpikeFrontEnd
from leukospike.original.model import load_model, save_model
from leukospike.original.preprocessing import Normalisation
from leukospike.settings import Preset, RunConfig
from leukospike.smears import SmearConfig, generate_cohort

HERE = Path(__file__).parent
CONFIG = RunConfig(
    dataset=Preset.C_NMC, hold_out=True, n_folds=2, epochs=8, image_size=24, n_components=10, batch_size=8
)


def main() -> None:
    """Draw a small cohort, run the honest protocol on it, and note what it gives."""
    run = HERE / f"run-{metadata.version('leukospike')}"
    shutil.rmtree(run, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "smears"
        generate_cohort(SmearConfig(n_subjects=4, cells_per_subject=5, fields_per_subject=0, cell_size_px=64), cohort)
        dataset = read_dataset(cohort)
        run_experiment(dataset, CONFIG, run)
        maps = np.array(prepare(dataset.records, Path(folder) / "maps", SpikeFrontEnd(24, 9), copies=0, seed=0).seen)

    # Half of each number's digits are enough here, and pack into half the space.
    model = load_model(RunFolder(run).weights(0))
    model.network.bfloat16().float()
    save_model(model, RunFolder(run).weights(0))

    # The machine is nobody's business, and no part of what is compared.
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["environment"]["processor"] = "any"
    (run / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")

    normalisation = Normalisation.fit(maps)
    components = fit_components(normalisation.apply(maps), n_components=CONFIG.n_components, seed=CONFIG.seed)
    with np.load(run / "samples.npz", allow_pickle=False) as samples:
        prepared = samples["prepared"]
    np.savez_compressed(
        HERE / "expected.npz",
        maps=maps,
        z_score=np.array([normalisation.mean, normalisation.std]),
        basis=components.basis,
        explained_variance_ratio=components.explained_variance_ratio,
        probabilities=load_model(RunFolder(run).weights(0)).probabilities(prepared),
    )


if __name__ == "__main__":
    main()
