"""What every transport promises; a subclass says where to: `place(tmp_path)`."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, ClassVar

import pytest

from stackbuild.core.errors import NetworkError, StackError
from stackbuild.oci.descriptor import Descriptor
from stackbuild.oci.image import Image
from stackbuild.oci.transports import copy, open_source
from stackbuild.oci.validate import image_mistakes
from tests.oci.samples import sample


def source(tmp_path: Path, compression: str = "gzip") -> Image:
    return sample(tmp_path / "source", compression)[0].open_image("1.0")


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

    def test_zstd_layers_survive(self, tmp_path: Path) -> None:
        image = source(tmp_path, "zstd")
        copy(image, self.place(tmp_path))
        assert not image_mistakes(open_source(self.place(tmp_path)))
