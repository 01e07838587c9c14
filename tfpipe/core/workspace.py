"""Where things lie: the folders of DESIGN §5 below one root."""

from dataclasses import dataclass
from pathlib import Path

from tfpipe.core.config import Config


@dataclass(frozen=True)
class Workspace:
    """A working folder with `data`, `runs` and `exported`. Paths in settings and rows are relative to it."""

    root: Path = Path()

    def dataset_dir(self, config: Config) -> Path:
        """`data/<dataset>`, of the settings that make the records."""
        return self.root / "data" / config.dataset_config.dataset

    def images_dir(self, config: Config) -> Path:
        """Photographs that a source draws or downloads."""
        return self.dataset_dir(config) / "images"

    def raw_path(self, config: Config) -> Path:
        """All rows of the source."""
        return self.dataset_dir(config) / "raw.jsonl"

    def fetched_path(self, config: Config) -> Path:
        """What became of each row's URL, a line a row."""
        return self.dataset_dir(config) / "fetch.jsonl"

    def journal_path(self, config: Config) -> Path:
        """What is known of every URL, over all runs of `fetch`."""
        return self.dataset_dir(config) / "fetch" / "journal.sqlite"

    def facts_path(self, config: Config) -> Path:
        """What is known of each row's image or text, a line a row."""
        return self.dataset_dir(config) / "facts.jsonl"

    def near_duplicates_path(self, config: Config) -> Path:
        """Pairs of rows whose images are nearly the same."""
        return self.dataset_dir(config) / "near_duplicates.jsonl"

    def ledger_path(self, config: Config) -> Path:
        """Which split a row was given, so that it keeps it when the data grow."""
        return self.dataset_dir(config) / "ledger.jsonl"

    def splits_path(self, config: Config) -> Path:
        """The rows that are kept, each with its split."""
        return self.dataset_dir(config) / "splits.jsonl"

    def excluded_path(self, config: Config) -> Path:
        """The rows that are not kept, each with its reason."""
        return self.dataset_dir(config) / "excluded.jsonl"

    def records_dir(self, config: Config) -> Path:
        """The records, as `tfds.builder_from_directory` reads them."""
        return self.dataset_dir(config) / config.dataset_config.pack.version

    def run_dir(self, config: Config) -> Path:
        """`runs/<config>`."""
        return self.root / "runs" / config.name

    def step_dir(self, config: Config, step: str) -> Path:
        """`runs/<config>/<step>`."""
        return self.run_dir(config) / step

    def best_path(self, config: Config) -> Path:
        """The fitted model of a teacher's or a student's settings."""
        return self.step_dir(config, "distill" if config.role == "student" else "teach") / "best.keras"

    def calibration_path(self, config: Config) -> Path:
        """What `calibrate` found, whole."""
        return self.step_dir(config, "calibrate") / "calibration.json"

    def page_calibration_path(self, config: Config) -> Path:
        """The little of it that travels with every export."""
        return self.step_dir(config, "calibrate") / "page.json"

    def int8_path(self, config: Config) -> Path:
        """The model with its weights as int8 has them."""
        return self.step_dir(config, "quantize") / "int8.keras"

    def exported_dir(self, config: Config) -> Path:
        """The static site."""
        return self.root / "exported" / config.name
