"""As much of kustomize as `deploy/kubernetes` uses, so that what it gives can be tested without it.

Whatever is not known here is an error, so that nothing is left out in silence. Names of ConfigMaps get no hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

Manifest = dict[str, Any]

_KNOWN: Final = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "configMapGenerator",
    "patches",
    "images",
    "namespace",
}


def loaded(path: Path) -> list[Manifest]:
    """The objects in a file."""
    return [dict(each) for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def kustomization(folder: Path) -> Manifest:
    """That of a folder."""
    [found] = loaded(folder / "kustomization.yaml")
    assert set(found) <= _KNOWN, f"{folder}: kustomize knows more than this: {set(found) - _KNOWN}"
    return found


def built(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` gives for the folder."""
    return _applied(folder, [])


def _applied(folder: Path, objects: list[Manifest]) -> list[Manifest]:
    told = kustomization(folder)
    objects = [*objects, *_resources(folder, told)]
    for generator in told.get("configMapGenerator", ()):
        _generate(generator, objects)
    for name in told.get("components", ()):
        objects = _applied(folder / name, objects)
    for patch in told.get("patches", ()):
        _patch(patch, objects)
    for image in told.get("images", ()):
        _name_image(image, objects)
    for each in objects if "namespace" in told else ():
        if each["kind"] != "Namespace":
            each["metadata"]["namespace"] = told["namespace"]
    return objects


def containers(objects: list[Manifest]) -> Iterator[Manifest]:
    """Of all Deployments."""
    for each in objects:
        if each["kind"] == "Deployment":
            yield from each["spec"]["template"]["spec"]["containers"]


def _resources(folder: Path, told: Manifest) -> Iterator[Manifest]:
    for name in told.get("resources", ()):
        path = folder / name
        yield from built(path) if path.is_dir() else loaded(path)


def _generate(generator: Manifest, objects: list[Manifest]) -> None:
    """A ConfigMap, or more settings of one that is there."""
    assert set(generator) <= {"name", "literals", "behavior"}
    data = dict(literal.split("=", 1) for literal in generator["literals"])
    if generator.get("behavior") == "merge":
        _found(objects, "ConfigMap", generator["name"])["data"].update(data)
    else:
        metadata = {"name": generator["name"]}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _name_image(image: Manifest, objects: list[Manifest]) -> None:
    assert set(image) == {"name", "newName", "newTag"}
    for container in containers(objects):
        if container["image"] == image["name"]:
            container["image"] = f"{image['newName']}:{image['newTag']}"


def _patch(patch: Manifest, objects: list[Manifest]) -> None:
    """A strategic merge that stands in the kustomization."""
    assert set(patch) == {"patch"}
    change = yaml.safe_load(patch["patch"])
    _merge(_found(objects, change["kind"], change["metadata"]["name"]), change)


def _found(objects: list[Manifest], kind: str, name: str) -> Manifest:
    [found] = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _merge(target: Manifest, change: Manifest) -> None:
    """A strategic merge without lists, of which each kind would have rules of its own."""
    for key, value in change.items():
        assert not isinstance(value, list), f"a patch of the list {key}"
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
