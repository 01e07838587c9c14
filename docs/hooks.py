"""What mkdocs asks this project while it builds the documentation."""

from generate import pages, result_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the navigation end with the results, however many there are."""
    config.nav = [*(config.nav or []), {"Results": list(result_pages())}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
