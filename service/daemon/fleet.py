"""The folder of a daemon: which pipelines there are now, and what is wrong with which file.

One bad file never stops the others, and a file that turns bad leaves its pipeline as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from pydantic import ValidationError

from service.config import load_config, placed
from service.config_text import read_file
from service.daemon.settings import DaemonSettings, settings_file
from service.folder import Judged, configurations, judged, pipeline_name
from service.problems import InvalidConfig, Problem, Severity, complaints
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
    _seen: dict[str, bytes | None] | None = None
    _files: dict[str, str] = field(default_factory=dict)

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
        refused = tuple(one for one in found if not one.ok)
        good = {one.file: config for one in found if (config := loaded(one)) is not None}
        wanted = {config.pipeline_metadata.pipeline_name: config for config in good.values()}
        kept = {name for one in found if one.file not in good for name in self._names_in(one)}
        end = tuple(name for name in self._configs if name not in wanted and name not in kept)
        begin = tuple(config for name, config in wanted.items() if self._configs.get(name) != config)
        self._configs = {name: c for name, c in self._configs.items() if name not in end} | wanted
        self._files |= {file: config.pipeline_metadata.pipeline_name for file, config in good.items()}
        self._files = {file: name for file, name in self._files.items() if name in self._configs}
        self.refused = refused
        return Changes(begin, end, refused)

    def _names_in(self, one: Judged) -> set[str]:
        """The pipeline of a file that cannot be used: what it says, and what it said when it was good."""
        return {pipeline_name(read_file(Path(one.file)).data), self._files.get(one.file, "")}

    def _contents(self) -> dict[str, bytes | None]:
        """Every file that a configuration may be made of, by name: they are small. None: it cannot be read."""
        try:
            return {file.name: content(file) for file in sorted(self.folder.iterdir()) if file.is_file()}
        except OSError:  # the folder is away for a moment: everything stays as it is
            return self._seen or {}


def content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def loaded(one: Judged) -> PipelineConfig | None:
    """The configuration in a file that was found good; None if it is not, or changed under our eyes."""
    try:
        return load_config(one.file) if one.ok else None
    except ConfigurationError:
        return None


def daemon_settings(folder: Path) -> DaemonSettings:
    """The daemon's own settings. Raises `InvalidConfig` with every problem in them."""
    file = settings_file(folder)
    if not file.exists():
        return DaemonSettings()
    settings, problems = judged_settings(file)
    if settings is None:
        raise InvalidConfig(problems, str(file))
    return settings


def judged_settings(file: Path) -> tuple[DaemonSettings | None, tuple[Problem, ...]]:
    """The daemon's settings in a file, None if they cannot be used; and every problem in it."""
    document = read_file(file)
    if any(problem.severity is Severity.ERROR for problem in document.problems):
        return None, document.problems
    try:
        return DaemonSettings.model_validate(document.data), document.problems
    except ValidationError as error:
        found = complaints(error, document.data, DaemonSettings)
        return None, tuple(placed(problem, document.places) for problem in found)
