"""The result of compressing, and the files that it is written to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.errors import FileError
from tersor.plan.recipe import Recipe
from tersor.report.document import Report, to_json
from tersor.store.atomic import write_atomically

if TYPE_CHECKING:
    from tersor.network.network import Network


@dataclass(frozen=True)
class Result:
    """What came of compressing a model.

    Attributes:
        network: The compressed network, trainable; the original if nothing beat it.
        report: The document of `report.json`; see `report.document.Report`.
        onnx: The file `model.onnx`.
        tsr: The file `model.tsr`.
        recipe: The resolved recipe: run again, it gives the same files.
    """

    network: "Network"
    report: Report
    onnx: bytes
    tsr: bytes
    recipe: Recipe

    @property
    def budget_met(self) -> bool:
        """False if any part of the budget was missed."""
        return self.report["budget"]["met"]

    def save(self, directory: str | Path) -> dict[str, Path]:
        """Write model.tsr, model.onnx, report.json, report.html and recipe.toml.

        Each file is written atomically; the folder is made if there is none.

        Returns:
            The path of each file by its name.

        Raises:
            FileError: The folder cannot be written.
        """
        from tersor.report.page import to_html

        texts = {
            "report.json": to_json(self.report),
            "report.html": to_html(self.report),
            "recipe.toml": self.recipe.to_toml(),
        }
        files = {"model.tsr": self.tsr, "model.onnx": self.onnx}
        files |= {name: text.encode() for name, text in texts.items()}
        folder = _made(Path(directory))
        paths = {name: folder / name for name in files}
        for name, data in files.items():
            write_atomically(paths[name], data)
        return paths


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made a folder ({error.strerror})"
        raise FileError(folder, problem, "Name another.") from None
    return folder
