"""`report`: the whole run on one page."""

from tfpipe.core.config import Config
from tfpipe.core.files import atomic_open
from tfpipe.core.lineage import Lineage
from tfpipe.core.steps import Metrics
from tfpipe.core.workspace import Workspace
from tfpipe.plots.run import build_run_page
from tfpipe.stages.report.telling import tell


def run(config: Config, workspace: Workspace) -> Metrics:
    """Gather what the steps have left, and lay it out."""
    lineage = Lineage(config, workspace)
    path = workspace.step_dir(config, "report") / "report.html"
    page = build_run_page(tell(lineage))
    with atomic_open(path) as file:
        file.write(page)
    ran = [each.state for each in lineage.steps.values()]
    return {
        "page": path.as_posix(),
        "num_steps": len(ran),
        "seconds": round(sum(state["seconds"] for state in ran), 1),
        "peak_memory_bytes": max(state["peak_memory_bytes"] for state in ran),
    }
