"""The network namespace of a container and its way out: veth and NAT as root, pasta or slirp4netns else. No ports."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from stackbuild.host import overlay, syscalls
from stackbuild.store.locks import lock

SUBNET = 0x0AD50000  # 10.213.0.0/16, cut into pieces of four addresses: one container each
PIECES = 1 << 14
SECONDS = 5.0
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCADDRT, _RTF_UP_GATEWAY = 0x8916, 0x891C, 0x890B, 3
_SLIRP_SERVER = "10.0.2.3"


class Network(NamedTuple):
    """What came of it. address: the container's own, "" for loopback alone. note: why there is no way out, or "".

    helper: pid of the process that carries its packets, or 0.
    """

    address: str = ""
    servers: tuple[str, ...] = ()
    note: str = ""
    helper: int = 0


def isolate(kind: str, programs: Mapping[str, str], locks: Path, record: Path) -> Network:
    """Move this process into a network namespace of its own ("private": with a way out; "none": without).

    record: a file that says what `clear` must take away. Raises OSError if there can be no namespace.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        helper = 0
        if kind == "private":
            helper = os.fork()  # before we leave: rootless, nobody gets back into the host's network
            if helper == 0:
                ours.close()
                _outside(theirs, programs, locks, record)
        syscalls.unshare(syscalls.CLONE_NEWNET)
        _up("lo")
        _allow_low_ports()
        if not helper:
            return Network()
        theirs.close()
        ours.send(b"go")
        ours.settimeout(SECONDS)
        try:
            answer: dict[str, Any] = json.loads(ours.recv(4096) or b"{}")
        except (TimeoutError, ValueError):
            answer = {"note": "what should connect it does not answer"}
        if not answer.get("stays"):
            os.kill(helper, signal.SIGKILL)
            os.waitpid(helper, 0)
            helper = 0
        if answer.get("link"):
            _inside(answer)
        return Network(answer.get("address", ""), tuple(answer.get("servers", ())), answer.get("note", ""), helper)


def _up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", name.encode(), 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), flags | _IFF_UP))


def _allow_low_ports() -> None:
    """As Docker: in a network of its own a user other than root may listen on port 80."""
    try:
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    except OSError:
        pass


def _outside(line: socket.socket, programs: Mapping[str, str], locks: Path, record: Path) -> NoReturn:
    """In a child that stays in the host's network: connect the namespace of our parent."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if line.recv(16) == b"go":
            parent = os.getppid()
            if os.geteuid() == 0 and not overlay.in_user_namespace():
                answer = _veth(parent, programs, locks, record)
            else:
                answer = _user_mode(parent, programs, line)
            line.send(json.dumps(answer).encode())
    except Exception as error:
        line.send(json.dumps({"note": str(error) or type(error).__name__}).encode())
    finally:
        os._exit(0)


def _veth(pid: int, programs: Mapping[str, str], locks: Path, record: Path) -> dict[str, Any]:
    missing = [name for name in ("ip", "iptables-restore") if name not in programs]
    if missing:
        return {"note": f"{' and '.join(missing)} not found (Debian: apt-get install iproute2 iptables)"}
    import hashlib

    digest = hashlib.sha256(str(record).encode()).digest()
    link = f"sb{digest.hex()[:10]}"
    with lock(locks, "network"):
        taken = _routed()
        first = int.from_bytes(digest[-2:], "big") % PIECES
        for number in range(PIECES):
            base = SUBNET + 4 * ((first + number) % PIECES)
            if not any(base & mask == network for network, mask in taken):
                break
        found = {"link": link, "subnet": f"{_dotted(base)}/30", "gateway": _dotted(base + 1)}
        record.write_text(json.dumps(found))
        commands = (
            f"link add {link} type veth peer name eth0 netns {pid}",
            f"addr add {found['gateway']}/30 dev {link}",
            f"link set {link} up",
        )
        _run(programs["ip"], "-batch", "-", stdin="\n".join(commands) + "\n")
    rules = "".join(f"*{table}\n-I {rule}\nCOMMIT\n" for table, rule in _rules(found))
    _run(programs["iptables-restore"], "-w", "--noflush", stdin=rules)
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    if forward.read_text().strip() != "1":
        forward.write_text("1")
    servers = host_servers()
    note = "" if servers else "the host's name servers listen on its loopback alone: names cannot be looked up"
    return {"link": link, "gateway": found["gateway"], "address": _dotted(base + 2), "servers": servers, "note": note}


def _routed() -> list[tuple[int, int]]:
    """(network, mask) of each route of the host but the default ones: what lies in none is free."""
    lines = (line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:])
    pairs = ([socket.ntohl(int(line[field], 16)) for field in (1, 7)] for line in lines)
    return [(network, mask) for network, mask in pairs if mask]


def _inside(answer: Mapping[str, Any]) -> None:
    """Our end of the pair, now that it is here (netdevice(7)): three calls instead of a program."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for call, address in ((_SIOCSIFADDR, answer["address"]), (_SIOCSIFNETMASK, "255.255.255.252")):
            fcntl.ioctl(sock, call, struct.pack("16s16s8x", b"eth0", _sockaddr(address)))
        _up("eth0")
        anywhere, gateway = _sockaddr("0.0.0.0"), _sockaddr(answer["gateway"])
        # struct rtentry: pad, destination, gateway, mask, flags, and what is 0 here
        fcntl.ioctl(sock, _SIOCADDRT, struct.pack("L16s16s16sH62x", 0, anywhere, gateway, anywhere, _RTF_UP_GATEWAY))


def _sockaddr(address: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def _rules(found: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(table, rule without its action) of what lets the container out."""
    link, subnet = found["link"], found["subnet"]
    return (
        ("nat", f"POSTROUTING -s {subnet} ! -o {link} -j MASQUERADE"),
        ("filter", f"FORWARD -i {link} -j ACCEPT"),
        ("filter", f"FORWARD -o {link} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    )


def clear(record: Path, programs: Mapping[str, str]) -> None:
    """Take away what connected a container, also what is there by half. The caller must be in the host's network."""
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError):
        return
    rules = [f"*{table}\n-D {rule}\nCOMMIT\n" for table, rule in _rules(found)]
    if not _tried(programs, "iptables-restore", "-w", "--noflush", stdin="".join(rules)):
        for rule in rules:  # each by itself: one that is gone must not save the others
            _tried(programs, "iptables-restore", "-w", "--noflush", stdin=rule)
    _tried(programs, "ip", "link", "delete", found["link"])
    record.unlink(missing_ok=True)


def _tried(programs: Mapping[str, str], name: str, *words: str, stdin: str = "") -> bool:
    """Whether a program did what it was asked for."""
    try:
        _run(programs[name], *words, stdin=stdin)
    except (OSError, KeyError):
        return False
    return True


def _run(*argv: str, stdin: str = "") -> str:
    """Run a program to its end; what it printed. Raises OSError with what it complained of."""
    import subprocess

    done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise OSError(f"{os.path.basename(argv[0])}: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout.decode(errors="replace")


def _dotted(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "big"))


def host_servers() -> tuple[str, ...]:
    """The host's name servers that a container can reach: not those on its loopback."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            lines = Path(path).read_text(errors="replace").splitlines()
        except OSError:
            continue
        words = (line.split() for line in lines)
        servers = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
        usable = tuple(one for one in servers if not one.startswith("127.") and one != "::1")
        if usable:
            return usable[:3]
    return ()


def _user_mode(pid: int, programs: Mapping[str, str], line: socket.socket) -> dict[str, Any]:
    """Start pasta or slirp4netns, which then carries the packets of our parent's namespace as long as it lives."""
    if "slirp4netns" not in programs and "pasta" not in programs:
        return {"note": "neither pasta nor slirp4netns found (Debian: apt-get install slirp4netns)"}
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return {"note": "/dev/net/tun cannot be opened"}
    import subprocess

    netns = f"/proc/{pid}/ns/net"
    ready, ready_write = os.pipe()
    if "pasta" in programs:
        quiet = ("--quiet", "--config-net", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none")
        argv = [programs["pasta"], *quiet, "--dns-forward", _SLIRP_SERVER, "--netns", netns]  # it goes to background
        done = subprocess.run(argv, capture_output=True, timeout=SECONDS, check=False)
        if done.returncode:
            return {"note": f"pasta: {done.stderr.decode(errors='replace').strip()[-300:]}"}
        return {"address": "", "servers": (_SLIRP_SERVER,)}
    child = subprocess.Popen(
        [programs["slirp4netns"], "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={ready_write}"]
        + ["--netns-type=path", netns, "tap0"],
        pass_fds=(ready_write,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    os.close(ready_write)
    if os.read(ready, 1) != b"1":
        said = child.communicate(timeout=SECONDS)[1]
        return {"note": f"slirp4netns: {said.decode(errors='replace').strip()[-300:]}"}
    line.send(json.dumps({"stays": True, "address": "10.0.2.100", "servers": (_SLIRP_SERVER,)}).encode())
    child.wait()
    os._exit(0)
