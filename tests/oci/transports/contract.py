"""What every transport promises; a subclass says where to: `place(tmp_path)`."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, ClassVar

import pytest

from stackbuild.core.errors import NetworkError, StackError, UsageError
from stackbuild.oci.descriptor import CONFIG, Descriptor
from stackbuild.oci.image import Image, ImageIndex, open_index
from stackbuild.oci.manifest import make_index, make_manifest
from stackbuild.oci.transports import copy, open_source
from stackbuild.oci.validate import image_mistakes
from tests.oci.samples import sample


def source(tmp_path: Path, compression: str = "gzip") -> Image:
    return sample(tmp_path / "source", compression)[0].open_image("1.0")


def source_index(tmp_path: Path) -> ImageIndex:
    """The same for two platforms, that share one of their layers."""
    layout, manifest = sample(tmp_path / "source")
    image = layout.open_image("1.0")
    config = replace(image.config, architecture="arm64", diff_ids=image.config.diff_ids[:1])
    config = replace(config, history=image.config.history[:1])
    other = make_manifest(layout.put_bytes(config.to_json(), CONFIG), manifest.layers[:1])
    layout.put_bytes(other.raw, other.media_type)
    named = [replace(other.descriptor, platform=config.platform), replace(manifest.descriptor, platform=image.platform)]
    return open_index("both", make_index(named), layout.open_blob)


def damaged(image: Image) -> Image:
    """The same image, but the last layer's blob has a byte changed."""
    last = image.manifest.layers[-1]

    def fetch(blob: Descriptor) -> BinaryIO:
        stream = image.fetch(blob)
        if blob.digest != last.digest:
            return stream
        data = bytearray(stream.read())
        data[-6] ^= 1
        return io.BytesIO(bytes(data))

    return replace(image, fetch=fetch)


class TransportContract(ABC):
    keeps_manifest: ClassVar[bool] = True
    takes_index: ClassVar[bool] = True

    @abstractmethod
    def place(self, tmp_path: Path) -> str:
        """Where an image goes, with its prefix."""

    def stored(self, tmp_path: Path) -> bytes | None:
        """The bytes at the place, where they are to be the same each time."""
        return None

    def test_what_goes_in_comes_out(self, tmp_path: Path) -> None:
        image = source(tmp_path)
        copied = copy(image, self.place(tmp_path))
        back = open_source(self.place(tmp_path))
        assert copied.digest == image.digest
        assert back.raw_config == image.raw_config
        assert [layer.diff_id for layer in back.layers] == [layer.diff_id for layer in image.layers]
        assert not image_mistakes(back)
        if self.keeps_manifest:
            assert back.digest == image.digest
            assert back.manifest.raw == image.manifest.raw

    def test_a_changed_blob_is_refused_and_nothing_appears(self, tmp_path: Path) -> None:
        with pytest.raises(NetworkError, match=r"wrong digest|not valid gzip|diff ID"):
            copy(damaged(source(tmp_path)), self.place(tmp_path))
        with pytest.raises(StackError):
            open_source(self.place(tmp_path))

    def test_the_same_image_gives_the_same_bytes(self, tmp_path: Path) -> None:
        image = source(tmp_path)
        copy(image, self.place(tmp_path))
        first = self.stored(tmp_path)
        copy(image, self.place(tmp_path))
        assert self.stored(tmp_path) == first

    def test_an_image_that_is_not_there_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"does not exist|cannot be read|no image|No such file"):
            open_source(self.place(tmp_path))

    def test_an_index_goes_whole_or_not_at_all(self, tmp_path: Path) -> None:
        index = source_index(tmp_path)
        if not self.takes_index:
            with pytest.raises(UsageError, match="holds one image") as refused:
                copy(index, self.place(tmp_path))
            assert "linux/arm64, linux/amd64" in refused.value.why
            with pytest.raises(StackError):
                open_source(self.place(tmp_path))
            return
        with pytest.raises(NetworkError, match="wrong digest"):
            copy(replace(index, images=(index.images[0], damaged(index.images[1]))), self.place(tmp_path))
        with pytest.raises(StackError):
            open_source(self.place(tmp_path))
        copied, whole = copy(index, self.place(tmp_path)), {b.digest: b.size for i in index.images for b in i.blobs}
        assert copied.digest == index.digest and copied.sent <= sum(whole.values())
        for image in index.images:
            back = open_source(self.place(tmp_path), platform=image.platform)
            assert back.digest == image.digest and not image_mistakes(back)
        first = self.stored(tmp_path)
        copy(index, self.place(tmp_path))
        assert self.stored(tmp_path) == first

    def test_zstd_layers_survive(self, tmp_path: Path) -> None:
        image = source(tmp_path, "zstd")
        copy(image, self.place(tmp_path))
        assert not image_mistakes(open_source(self.place(tmp_path)))
