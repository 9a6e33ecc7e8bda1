"""What a bootstrapped tree holds before the first package: merged-/usr links, as debootstrap makes them."""

from __future__ import annotations

from stackbuild.oci.tar_write import Entry

_MULTILIB = {
    "amd64": ("lib32", "lib64", "libx32"),
    "i386": ("lib64", "libx32"),
    "loong64": ("lib32", "lib64"),
    "mips64el": ("lib32", "lib64", "libo32"),
    "mipsel": ("lib32", "lib64"),
    "ppc64": ("lib32", "lib64"),
    "ppc64el": ("lib64",),
    "s390x": ("lib32",),
    "sparc64": ("lib32", "lib64"),
    "x32": ("lib32", "lib64", "libx32"),
}


def links(architecture: str) -> tuple[str, ...]:
    """The directories of / that are links into /usr on a merged-/usr Debian of this architecture."""
    return tuple(sorted(("bin", "sbin", "lib", *_MULTILIB.get(architecture, ()))))


def renames(architecture: str) -> dict[str, str]:
    """The same, as the `renames` parameter of `unpack` and `configure` for a bootstrapped base."""
    return {name: f"usr/{name}" for name in links(architecture)}


def entries(architecture: str, epoch: int) -> list[Entry]:
    """The links and the folders that they lead to, sorted."""
    found = {b"usr": Entry(b"usr", "dir", 0o755, mtime=epoch)}
    for name in map(str.encode, links(architecture)):
        found[name] = Entry(name, "symlink", 0o777, mtime=epoch, target=b"usr/" + name)
        found[b"usr/" + name] = Entry(b"usr/" + name, "dir", 0o755, mtime=epoch)
    return [found[path] for path in sorted(found)]
