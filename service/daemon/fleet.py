"""The folder of a daemon: which pipelines there are now, and what is wrong with which file.

One bad file never stops the others, and a file that turns bad leaves its pipeline as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from pydantic import ValidationError

from service.config import load_config
from service.config_text import read_file
from service.daemon.settings import DaemonSettings, settings_file
from service.folder import Judged, configurations, judged, pipeline_name
from service.problems import InvalidConfig, Severity, complaints
from service.settings import PipelineConfig
from state.errors import ConfigurationError


class Changes(msgspec.Struct, frozen=True):
    """What a look at the folder found: configurations to begin with, names to end, files that cannot be used."""

    begin: tuple[PipelineConfig, ...] = ()
    end: tuple[str, ...] = ()
    refused: tuple[Judged, ...] = ()


@dataclass
class Fleet:
    """Remembers what was found in `folder`, so that a look tells only what is different."""

    folder: Path
    _configs: dict[str, PipelineConfig] = field(default_factory=dict)
    refused: tuple[Judged, ...] = ()
    """Files that cannot be used, as the last look found them."""
    _seen: dict[str, bytes] | None = None

    @property
    def configs(self) -> dict[str, PipelineConfig]:
        """The pipelines by name, each in its last valid form."""
        return dict(self._configs)

    def look(self) -> Changes:
        """What changed since the last look; nothing if no file did. Blocks: call it in a thread."""
        seen = self._contents()
        if seen == self._seen:
            return Changes()
        self._seen = seen
        try:
            found = judged(configurations(self.folder))
        except ConfigurationError:  # an empty folder is a daemon that waits
            found = []
        refused = [one for one in found if not one.ok]
        wanted = {config.pipeline_metadata.pipeline_name: config for config in map(loaded, found) if config}
        kept = {name_in(one) for one in refused}
        end = tuple(name for name in self._configs if name not in wanted and name not in kept)
        begin = tuple(config for name, config in wanted.items() if self._configs.get(name) != config)
        self._configs = {name: c for name, c in self._configs.items() if name not in end} | wanted
        self.refused = tuple(refused)
        return Changes(begin, end, self.refused)

    def _contents(self) -> dict[str, bytes]:
        """Every file that a configuration may be made of, by name: they are small."""
        return {file.name: file.read_bytes() for file in sorted(self.folder.iterdir()) if file.is_file()}


def loaded(one: Judged) -> PipelineConfig | None:
    """The configuration in a file that was found good; None if it is not, or changed under our eyes."""
    try:
        return load_config(one.file) if one.ok else None
    except ConfigurationError:
        return None


def name_in(one: Judged) -> str:
    """The name of the pipeline that a file is about, as far as it can be told."""
    return pipeline_name(read_file(Path(one.file)).data)


def daemon_settings(folder: Path) -> DaemonSettings:
    """The daemon's own settings. Raises `InvalidConfig` with every problem in them."""
    file = settings_file(folder)
    if not file.exists():
        return DaemonSettings()
    document = read_file(file)
    if any(problem.severity is Severity.ERROR for problem in document.problems):
        raise InvalidConfig(document.problems, str(file))
    try:
        return DaemonSettings.model_validate(document.data)
    except ValidationError as error:
        raise InvalidConfig(complaints(error, document.data, DaemonSettings), str(file)) from None
