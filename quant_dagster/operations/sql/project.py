"""The SQL models in ``dbt_like_sql``: read, rendered and put in order, without running anything.

The folder is a dbt project. Of dbt's templating only ``ref``, ``source``, ``config`` and ``var`` are known, so that
what a model depends on is in its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from quant_dagster.operations.sql.lineage import ColumnLineage, column_lineage, output_columns
from quant_dagster.operations.sql.models import SqlModel, SqlSource
from quant_dagster.operations.sql.templates import SqlModelError, Templates, closest
from quant_dagster.operations.sql.tests import SqlTest, generic_tests, singular_test
from quant_dagster.settings import PROJECT_ROOT

SQL_FOLDER = PROJECT_ROOT / "dbt_like_sql"
MATERIALIZATIONS = ("view", "table")
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where PyYAML was built with libyaml


@dataclass(frozen=True)
class SqlProject:
    """Everything in the folder, checked. Models are in dependency order."""

    folder: Path
    models: Mapping[str, SqlModel]
    sources: Mapping[str, SqlSource]
    tests: tuple[SqlTest, ...]
    _lineage: dict[str, ColumnLineage] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path = SQL_FOLDER, variables: Mapping[str, Any] | None = None) -> SqlProject:
        """Read a project.

        Parameters
        ----------
        variables
            Values that win over ``vars`` in ``dbt_project.yml``; only variables declared there can be set.

        Raises
        ------
        SqlModelError
            Naming the file and line: an unknown model, source, variable or setting (with the closest name there is),
            models that depend on each other in a circle, a model that is described but does not exist.
        """
        return _Loader(folder, variables or {}).project()

    def model(self, name: str) -> SqlModel:
        """The model called ``name``; the error names the closest."""
        if name not in self.models:
            raise SqlModelError(f"there is no SQL model '{name}'{closest(name, self.models)}")
        return self.models[name]

    def depends_on(self, name: str) -> tuple[str, ...]:
        """Models and sources (``lake.bars``) that a model reads directly."""
        model = self.model(name)
        return (*model.refs, *model.sources)

    def upstream(self, names: Iterable[str]) -> tuple[str, ...]:
        """The models named and all they depend on, in the order in which they can run."""
        wanted: set[str] = set()
        waiting = [self.model(name).name for name in names]
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.add(name)
                waiting.extend(self.models[name].refs)
        return tuple(name for name in self.models if name in wanted)

    def column_lineage(self, name: str) -> ColumnLineage:
        """For each column of a model, the columns of models and sources it is made of, one step up."""
        if name not in self._lineage:
            self._lineage[name] = column_lineage(self.model(name), self.output_columns)
        return self._lineage[name]

    @cached_property
    def output_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Column names of every source and model, in order, worked out from the SQL alone."""
        return output_columns(self.models, self.sources)


class _Loader:
    def __init__(self, folder: Path, variables: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = self._yaml(folder / "dbt_project.yml")
        declared = dict(self.settings.get("vars") or {})
        if unknown := [name for name in variables if name not in declared]:
            raise SqlModelError(f"{self._short(folder / 'dbt_project.yml')}: no variable {unknown} under vars")
        self.variables = declared | dict(variables)
        self.sources: dict[str, SqlSource] = {}
        self.properties: dict[str, tuple[dict[str, Any], str]] = {}
        self.test_properties: dict[str, tuple[dict[str, Any], str]] = {}
        self.model_files = self._files("model-paths", "models")
        self.test_files = self._files("test-paths", "tests")
        self.templates = Templates(self.model_files, self.sources, self.variables)

    def project(self) -> SqlProject:
        for key, default in (("model-paths", "models"), ("test-paths", "tests")):
            for folder in self.settings.get(key) or [default]:
                for file in sorted((self.folder / folder).rglob("*.yml")):
                    self._read_properties(file)
        models = {name: self._model(name, file) for name, file in self.model_files.items()}
        for name, (_, where) in self.properties.items():
            if name not in models:
                raise SqlModelError(f"{where} describes model '{name}', which has no .sql file{closest(name, models)}")
        ordered = {name: models[name] for name in self._order(models)}
        tests = [
            test
            for name in ordered
            if name in self.properties
            for test in generic_tests(ordered, name, *self.properties[name])
        ]
        for name, (_, where) in self.test_properties.items():
            if name not in self.test_files:
                raise SqlModelError(
                    f"{where} describes test '{name}', which has no file{closest(name, self.test_files)}"
                )
        for name, file in self.test_files.items():
            rendered = self.templates.render(file.read_text(encoding="utf-8"), self._short(file))
            described = self.test_properties.get(name, ({}, ""))[0]
            tests.append(singular_test(ordered, name, rendered, described))
        if repeated := {test.name for test in tests if sum(t.name == test.name for t in tests) > 1}:
            raise SqlModelError(f"two SQL tests have the same name: {', '.join(sorted(repeated))}; give one a 'name:'")
        return SqlProject(self.folder, ordered, self.sources, tuple(tests))

    def _files(self, key: str, default: str) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self.settings.get(key) or [default]:
            for file in sorted((self.folder / folder).rglob("*.sql")):
                if file.stem in found:
                    raise SqlModelError(f"{self._short(found[file.stem])} and {self._short(file)} have the same name")
                found[file.stem] = file
        return found

    def _read_properties(self, file: Path) -> None:
        content, where = self._yaml(file), self._short(file)
        for group in content.get("sources") or []:
            for table in group.get("tables") or []:
                source = SqlSource(group["name"], table["name"], table.get("description", ""))
                self.sources[source.name] = source
        for model in content.get("models") or []:
            self.properties[model["name"]] = (model, where)
        for test in content.get("data_tests") or []:
            self.test_properties[test["name"]] = (test, where)

    def _model(self, name: str, file: Path) -> SqlModel:
        rendered = self.templates.render(file.read_text(encoding="utf-8"), self._short(file))
        described, _ = self.properties.get(name, ({}, ""))
        materialized = rendered.config.get("materialized", "view")
        if materialized not in MATERIALIZATIONS:
            raise SqlModelError(
                f"{rendered.path}: model '{name}' is materialized as '{materialized}'; allowed: "
                + ", ".join(MATERIALIZATIONS)
            )
        return SqlModel(
            name=name,
            layer=file.parent.name,
            path=rendered.path,
            sql=rendered.sql,
            materialized=materialized,
            refs=tuple(sorted(rendered.refs)),
            sources=tuple(sorted(rendered.sources)),
            description=described.get("description", ""),
            columns={column["name"]: column.get("description", "") for column in described.get("columns") or []},
        )

    def _order(self, models: Mapping[str, SqlModel]) -> list[str]:
        """Dependency order; among models that could run at the same time, by name."""
        sorter = TopologicalSorter({name: models[name].refs for name in sorted(models)})
        try:
            sorter.prepare()
        except CycleError as error:
            circle = " → ".join(error.args[1])
            raise SqlModelError(f"SQL models depend on each other in a circle: {circle}; break it") from None
        ordered: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered.extend(ready)
            sorter.done(*ready)
        return ordered

    def _yaml(self, file: Path) -> dict[str, Any]:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=_YAML)
        except FileNotFoundError:
            raise SqlModelError(f"{file} is missing: a folder of SQL models needs it") from None
        except yaml.YAMLError as error:
            raise SqlModelError(f"{self._short(file)} is not valid YAML: {error}") from None
        if content is not None and not isinstance(content, dict):
            raise SqlModelError(f"{self._short(file)} must hold 'key: value' pairs, not {type(content).__name__}")
        return content or {}

    def _short(self, file: Path) -> str:
        return (Path(self.folder.name) / file.relative_to(self.folder)).as_posix()
