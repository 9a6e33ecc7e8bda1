"""A small image that holds what is hard to carry: made here, so that tests need no network."""

from __future__ import annotations

import io
from pathlib import Path

from stackbuild.core.digest import Digest
from stackbuild.oci.config import Healthcheck, History, ImageConfig
from stackbuild.oci.descriptor import CONFIG, LAYER_OF, Descriptor
from stackbuild.oci.layout import Layout
from stackbuild.oci.manifest import Manifest, make_manifest
from stackbuild.oci.tar_write import Entry, LayerWriter, Written

Entries = list[tuple[Entry, bytes]]

BUSYBOX = b"#!/bin/sh\necho hello from the image\n"
LOWER: Entries = [
    (Entry(b"etc", "dir", 0o755), b""),
    (Entry(b"etc/caf\xe9", "file", 0o640, uid=7, gid=8, size=4), b"odd\n"),
    (Entry(b"etc/gone", "file", 0o644, size=1), b"x"),
    (Entry(b"etc/link", "symlink", 0o777, target=b"/etc/motd"), b""),
    (Entry(b"etc/motd", "file", 0o644, size=6), b"first\n"),
    (Entry(b"opt", "dir", 0o1777), b""),
    (Entry(b"opt/a", "file", 0o4755, size=2), b"ok"),
    (Entry(b"opt/b", "hardlink", 0o4755, target=b"opt/a"), b""),
    (Entry(b"opt/" + b"long" * 40, "file", 0o600, xattrs={b"user.note": b"kept"}), b""),
]
UPPER: Entries = [
    (Entry(b"etc", "dir", 0o755), b""),
    (Entry(b"etc/.wh.gone", "file", 0o644), b""),
    (Entry(b"etc/motd", "file", 0o644, size=7), b"second\n"),
]


def write_layer(layout: Layout, entries: Entries, compression: str = "gzip") -> tuple[Descriptor, Written]:
    out = io.BytesIO()
    with LayerWriter(out, compression) as writer:
        for entry, content in entries:
            writer.add(entry, content)
        written = writer.close()
    return layout.put_bytes(out.getvalue(), LAYER_OF[compression]), written


def sample_config(diff_ids: tuple[Digest, ...]) -> ImageConfig:
    return ImageConfig(
        created="1980-01-01T00:00:01Z",
        user="7:8",
        exposed_ports=("8080/tcp",),
        env=("PATH=/usr/bin:/bin", "EMPTY="),
        entrypoint=("/bin/sh", "-c"),
        cmd=(),
        volumes=("/data",),
        working_dir="/opt",
        labels={"org.example.note": "ü"},
        stop_signal="SIGQUIT",
        healthcheck=Healthcheck(test=("CMD", "true"), interval=2_000_000_000, retries=3),
        diff_ids=diff_ids,
        history=tuple(History(created_by=f"step {n}") for n in range(len(diff_ids))),
    )


def sample(path: Path, compression: str = "gzip", tag: str = "1.0") -> tuple[Layout, Manifest]:
    """A layout with one image of two layers."""
    layout = Layout(path).create()
    layers = [write_layer(layout, entries, compression) for entries in (LOWER, UPPER)]
    config = sample_config(tuple(written.diff_id for _, written in layers))
    manifest = make_manifest(
        layout.put_bytes(config.to_json(), CONFIG), [blob for blob, _ in layers], {"org.example.a": "b"}
    )
    layout.add(manifest.raw, tag, platform=config.platform)
    return layout, manifest
