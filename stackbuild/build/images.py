"""Layers as folders: what a step sees below it, unpacked on demand. Knows the store, not the plan."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stackbuild.core.action import ActionResult, Blob
from stackbuild.core.digest import Digest, digest_of
from stackbuild.core.errors import HostError, NetworkError
from stackbuild.store.objects import ObjectStore, drop_same, lost, signature_of
from stackbuild.store.trees import TreeStore


def layer_blobs(result: ActionResult) -> list[tuple[Blob, Digest, dict[str, Any]]]:
    """The layers that a result stands for, lowest first: blob, diff ID, facts of history.

    A base has several (facts["layers"]), any other step one (outputs["layer"]), an empty one none.
    """
    facts = result.facts
    if "layers" in facts:
        return [
            (Blob(Digest(item["digest"]), item["size"]), Digest(item["diff_id"]), dict(item))
            for item in facts["layers"]
        ]
    if facts.get("empty") or "layer" not in result.outputs:
        return []
    return [(result.outputs["layer"], Digest(facts["diff_id"]), dict(facts))]


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """The ChainID of these layers, at least one, applied in order (image-spec, config.md)."""
    chain, *rest = diff_ids
    for diff_id in rest:
        chain = digest_of(f"{chain} {diff_id}".encode())
    return chain


def layer_results(layers: Sequence[dict[str, Any]], of_base: int) -> tuple[ActionResult, ...]:
    """What `LayerFolders.of` reads, from the layers (digest, size, diff_id) of an image alone.

    of_base: how many of the lowest ones are foreign: they are unpacked over each other into one folder.
    """
    base, own = list(layers[:of_base]), layers[of_base:]
    found = [
        ActionResult({"layer": Blob(Digest(layer["digest"]), layer["size"])}, {"diff_id": layer["diff_id"]})
        for layer in own
    ]
    if base:
        chain = chain_id([Digest(layer["diff_id"]) for layer in base])
        found.insert(0, ActionResult({}, {"layers": base, "chain_id": chain}))
    return tuple(found)


def _lost(diff_id: Digest, into: Path) -> None:
    raise lost(f"the tree {diff_id}")


class LayerFolders:
    """Gives the unpacked folder of each layer, for one form of whiteouts ("overlay" or "chroot")."""

    def __init__(self, blobs: ObjectStore, trees: TreeStore, form: str) -> None:
        self.form = form
        self._blobs, self._trees = blobs, trees

    def of(self, results: Sequence[ActionResult]) -> list[tuple[Digest, Path]]:
        """Digest (diff ID, or chain ID of a base) and folder of each, lowest first. May unpack."""
        folders = []
        for result in results:
            if "layers" in result.facts:
                chain = Digest(result.facts["chain_id"])
                folders.append((chain, self._trees.ensure(chain, "flat", partial(self._flatten, result))))
                continue
            if not result.outputs and "diff_id" in result.facts and not result.facts.get("empty"):
                diff_id = Digest(result.facts["diff_id"])  # its layer is still being made of the very folder
                folders.append((diff_id, self._trees.ensure(diff_id, self.form, partial(_lost, diff_id))))
            for blob, diff_id, _ in layer_blobs(result):
                make = partial(self._unpack, blob, diff_id)
                folders.append((diff_id, self._trees.ensure(diff_id, self.form, make)))
        return folders

    def keep(self, folder: Path, diff_id: Digest) -> None:
        """Take over the unpacked form that a step left beside its layer."""
        self._trees.add(folder, diff_id, self.form)

    def _unpack(self, blob: Blob, diff_id: Digest, into: Path) -> None:
        from stackbuild.oci.tar_extract import extract

        try:
            with self._open(blob) as stream:
                before = signature_of(os.fstat(stream.fileno()))
                extract(
                    stream,
                    into,
                    whiteouts="device" if self.form == "overlay" else "file",
                    name=f"layer {blob.digest}",
                    diff_id=diff_id,  # a remote cache may lie, and everybody finds the folder by this name
                )
        except NetworkError as error:
            drop_same(self._blobs.path(blob.digest), before)
            wrong = HostError(
                f"the layer {blob.digest} is not what its step's result says and is dropped", why=str(error)
            )
            wrong.damaged = True
            raise wrong from error

    def _flatten(self, result: ActionResult, into: Path) -> None:
        from stackbuild.oci.tar_extract import extract

        layers = layer_blobs(result)
        if chain_id([diff_id for _, diff_id, _ in layers]) != result.facts["chain_id"]:
            raise HostError("a base image's layers do not make its chain ID", why=str(result.facts["chain_id"]))
        for blob, diff_id, _ in layers:
            with self._open(blob) as stream:
                extract(stream, into, whiteouts="apply", name=f"layer {blob.digest}", diff_id=diff_id)

    def _open(self, blob: Blob) -> Any:
        try:
            return open(self._blobs.checked(blob), "rb")
        except FileNotFoundError:
            raise lost(f"the blob {blob.digest}") from None
