"""What an OCI image layout says (image-spec, image-layout.md), wherever its files are. Changes nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import BinaryIO

from stackbuild.core.digest import Digest, parse_digest
from stackbuild.core.errors import Hint, NetworkError, UsageError
from stackbuild.oci.descriptor import INDEXES, MANIFESTS, TAG_ANNOTATION, Descriptor, Platform
from stackbuild.oci.documents import MAX_DOCUMENT, read_object, shown
from stackbuild.oci.image import Image, open_image, read_small
from stackbuild.oci.manifest import Index, Manifest, parse_document


class LayoutView(ABC):
    """Names and images of a layout; a folder and an archive say how its files are read.

    name: what the user calls it.
    """

    name: str

    @abstractmethod
    def small(self, file: str) -> bytes:
        """All of `oci-layout` or `index.json`, bounded. Raises NetworkError."""

    @abstractmethod
    def blob_size(self, digest: Digest) -> int | None:
        """Bytes of a blob as stored; None if it is not there."""

    @abstractmethod
    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """A blob's bytes as they are, its size checked. Raises NetworkError."""

    def index(self) -> Index:
        """The names. Raises NetworkError for what is no valid layout."""
        version = read_object(self.small("oci-layout"), f"{self.name}: oci-layout").text("imageLayoutVersion")
        if not version.startswith("1."):
            raise NetworkError(f"{self.name} has an unknown layout version", why=shown(repr(version)))
        found = parse_document(self.small("index.json"), f"{self.name}: index.json")
        if not isinstance(found, Index):
            raise NetworkError(f"{self.name}: index.json is not an index")
        return found

    def images(self) -> tuple[tuple[str, Descriptor], ...]:
        """(tag, descriptor) of every image or index named, in the index's order; "" for one without a tag."""
        return tuple((item.annotations.get(TAG_ANNOTATION, ""), item) for item in self.index().manifests)

    def find(self, name: str = "") -> Descriptor:
        """The descriptor of a tag or digest; of the only image if no name is given. Raises UsageError."""
        images = self.images()
        if name:
            found = [item for tag, item in images if tag == name or item.digest == name]
            if found:
                return found[-1]
        elif len({item.digest for _, item in images}) == 1:
            return images[0][1]
        tags = ", ".join(sorted({tag for tag, _ in images if tag}))
        hints = (Hint(f"there are: {shown(tags, 500)}"),) if tags else ()
        if name:
            raise UsageError(f"{self.name} has no image `{shown(name)}`", hints=hints)
        raise UsageError(
            f"{self.name} has {'more than one image' if images else 'no image'}",
            why="the tag does not say which" if images else "its index is empty",
            hints=hints,
        )

    # Images

    def document(self, descriptor: Descriptor) -> Manifest | Index:
        """The manifest or index that a descriptor of this layout names, checked. Raises NetworkError."""
        name = f"{self.name}: manifest {descriptor.digest[:19]}"
        if descriptor.media_type not in (*MANIFESTS, *INDEXES):
            raise NetworkError(f"{name} is of an unknown kind", why=shown(repr(descriptor.media_type)))
        if descriptor.size > MAX_DOCUMENT:
            raise NetworkError(f"{name} is too large", why=f"{descriptor.size} bytes")
        return parse_document(read_small(self.open_blob(descriptor), descriptor, name), name, descriptor.media_type)

    def open_image(self, name: str = "", platform: Platform | None = None) -> Image:
        """The image of a tag or digest; of an index, the one for the platform (default linux/amd64).

        A digest may also be one that no name leads to. Raises UsageError, NetworkError.
        """
        label = f"{self.name}:{name}" if name else self.name
        document = self.document(self._descriptor(name))
        for _ in range(3):
            if isinstance(document, Manifest):
                return open_image(label, document, self.open_blob)
            document = self.document(document.choose(platform or Platform(), label))
        raise NetworkError(f"{label} cannot be read", why="its indexes are nested too deeply")

    def _descriptor(self, name: str) -> Descriptor:
        try:
            return self.find(name)
        except UsageError as unknown:
            try:
                digest = parse_digest(name)
            except ValueError:
                raise unknown from None
            size = self.blob_size(digest)
            if size is None:
                raise unknown from None
        if size > MAX_DOCUMENT:
            raise NetworkError(f"{self.name}: {digest} is not a manifest", why=f"it has {size} bytes")
        raw = read_small(self.open_blob(Descriptor("", digest, size)), Descriptor("", digest, size), str(digest))
        return parse_document(raw, f"{self.name}: {digest}").descriptor
