"""Known failures of moves: what tells each from the others, its cause and its cure. A table, and pure.

libvirt says what failed by a number (VIR_ERR_...), the part of it that says so (VIR_FROM_...) and, of the system's errors, errno;
these are the same in every language and version. Where they do not tell, as with QEMU's own words that libvirt passes on, a
regular expression does. What is not in the table is not explained. tests/recorded/failures.json holds what each sounds like.

A cure leaves every copy of the guest alone: which of two may be ended is for ``migrate.verify`` and ``whimbrel recover`` to say.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Literal

from whimbrel.errors import EngineError, SilentError

Side = Literal["source", "destination", "both", "between", "here"]

# libvirt's numbers (virterror.h), which never change.
INTERNAL, NO_MEMORY, FAILED, SYSTEM, NO_NETWORK, AUTH_FAILED, NO_POOL = 1, 2, 9, 38, 43, 45, 49
INVALID, UNSUPPORTED, TIMED_OUT, ABORTED, AUTH_CANCELLED, UNSAFE, AUTH_UNAVAILABLE = 55, 67, 68, 78, 79, 81, 94
NOT_SUPPORTED, ACCESS_DENIED, CPU = 84, 88, 91
FROM_RPC, FROM_QEMU, FROM_STORAGE, FROM_DOMAIN, FROM_LIBSSH2, FROM_LIBSSH = 7, 10, 18, 20, 50, 66
# What libvirt's words begin with, for those who only hear them, as from virsh; only those of the system's errors have nothing.
_BEGINNINGS = {
    INTERNAL: "internal error: ", NO_MEMORY: "out of memory", FAILED: "operation failed: ", NO_NETWORK: "Network not found",
    AUTH_FAILED: "authentication failed", NO_POOL: "Storage pool not found", INVALID: "Requested operation is not valid",
    UNSUPPORTED: "unsupported configuration: ", TIMED_OUT: "Timed out during operation", ABORTED: "operation aborted",
    AUTH_CANCELLED: "authentication cancelled", UNSAFE: "Unsafe migration", AUTH_UNAVAILABLE: "authentication unavailable",
    NOT_SUPPORTED: "Operation not supported", ACCESS_DENIED: "access denied", CPU: "the CPU is incompatible with host CPU",
}  # fmt: skip


@dataclass(frozen=True)
class Sign:
    """What tells a failure; what is None may be anything. One that is words alone is looked for in QEMU's log too.

    ``silent`` says whether it is the host that we ask that does not answer: libvirt has the same words where its peer is lost.
    """

    number: int | None = None
    part: int | None = None
    errno: int | None = None
    words: str | None = None
    silent: bool | None = None


@dataclass(frozen=True)
class Failure:
    """A known failure: its cause and its cure in plain words, and on which side the cure is."""

    name: str
    side: Side
    cause: str
    cure: str
    signs: tuple[Sign, ...]


# Of two that fit, the first counts: what is more particular stands above.
FAILURES: tuple[Failure, ...] = (
    Failure(
        "same-host", "both", "source and destination are one host for libvirt: they have the same host UUID",
        "compare 'virsh -c URI capabilities' of both (host, uuid). If they are one host, there is one copy of the guest:"
        " name another host. If they are two, give one another 'host_uuid' in libvirtd.conf, and restart libvirtd there",
        (Sign(INTERNAL, FROM_QEMU, words="same host"),),
    ),
    Failure(
        "bridge-missing", "destination", "the destination lacks a bridge or link that the guest is connected to",
        "make one of the name that libvirt gives there ('ip link'), with the MTU of the source's, and move it again",
        (Sign(SYSTEM, errno=errno.ENODEV, words="MTU|interface|bridge"), Sign(words="Cannot get interface MTU")),
    ),
    Failure(
        "network-missing", "destination", "the destination lacks a virtual network that the guest is connected to",
        "define and start one of that name there ('virsh net-dumpxml' at the source, 'virsh net-define' and 'net-start' there)",
        (Sign(NO_NETWORK), Sign(words="no connection driver available for network:")),
    ),
    Failure(
        "ssh-host-key-changed", "here", "the host's ssh key is not the one that is known of it: it is another machine, or was"
        " installed anew",
        "find out which, from somebody who knows that machine; only then remove the old key ('ssh-keygen -R HOST') and connect"
        " once by hand, as the user who connects (root, or that of the source's libvirtd)",
        (Sign(SYSTEM, FROM_RPC, words="IDENTIFICATION HAS CHANGED"),
         Sign(AUTH_FAILED, FROM_LIBSSH, words="HOST KEY VERIFICATION FAILED")),
    ),
    Failure(
        "ssh-host-key-unknown", "here", "ssh does not know the host's key, and nobody is there to say that it is right",
        "connect once by hand, as the user who connects (root, or that of the source's libvirtd), and compare the key: 'ssh"
        " USER@HOST true'. Or put the key into known_hosts",
        (Sign(SYSTEM, FROM_RPC, words="Host key verification failed"), Sign(words="Can't verify the session host key")),
    ),
    Failure(
        "ssh-permission-denied", "here", "ssh is not let in: the host does not have our key, or the key wants a passphrase",
        "copy the key of the user who connects (root, or that of the source's libvirtd) there: 'ssh-copy-id USER@HOST'; one with"
        " a passphrase has to be in an agent that this user reaches. 'ssh -o BatchMode=yes USER@HOST true' tries it",
        (Sign(SYSTEM, FROM_RPC, words=r"Permission denied \(|Permission denied, please|Too many authentication failures"),
         Sign(AUTH_FAILED, FROM_LIBSSH), Sign(AUTH_FAILED, FROM_LIBSSH2)),
    ),
    Failure(
        "ssh-no-helper", "destination", "ssh got in, but there is no program on that host that leads on to its libvirt",
        "install libvirt's daemon there, and netcat or virt-ssh-helper (Debian: libvirt-daemon, netcat-openbsd)",
        (Sign(SYSTEM, FROM_RPC, words=r"(nc|virt-ssh-helper): (command )?not found"),),
    ),
    Failure(
        "name-unknown", "between", "a host's name is unknown where it was asked for",
        "enter it in /etc/hosts or in DNS of the machine that connects (this one, or the guest's source), or use an address",
        (Sign(SYSTEM, FROM_RPC, words="Unable to resolve address|Could not resolve hostname"),
         Sign(SYSTEM, FROM_RPC, words="Name or service not known")),
    ),
    Failure(
        "libvirt-absent", "here", "no libvirt daemon listens on that socket",
        "start it there ('systemctl start libvirtd', or virtqemud.socket), or name the socket that it has",
        (Sign(SYSTEM, FROM_RPC, words="Failed to connect socket to"),),
    ),
    Failure(
        "connection-refused", "destination", "that host answers, but nothing listens at that port",
        "see that libvirtd listens there (TLS: 16514, ssh: 22, TCP: 16509), and that no firewall refuses it or the ports of moves"
        " (49152 to 49215)",
        (Sign(SYSTEM, FROM_RPC, errno.ECONNREFUSED), Sign(SYSTEM, FROM_RPC, words="Connection refused"),
         Sign(words="Failed to connect to .*: Connection refused")),
    ),
    Failure(
        "no-route", "between", "there is no way to that address: the host is off, or the network does not lead there",
        "see that the host is on, that the address is right, and that the machine that connects (this one, or the guest's source)"
        " reaches it ('ip route get ADDRESS', 'ping')",
        (Sign(SYSTEM, FROM_RPC, errno.EHOSTUNREACH), Sign(SYSTEM, FROM_RPC, errno.ENETUNREACH),
         Sign(SYSTEM, FROM_RPC, words="No route to host|Network is unreachable"),
         Sign(words="Failed to connect to .*: (No route to host|Network is unreachable)")),
    ),
    Failure(
        "timed-out", "between", "nothing answers at that address: the host stands still, or a firewall drops what is sent",
        "see that the host answers, and that firewalls let libvirt (TLS: 16514, ssh: 22, TCP: 16509) and moves (49152 to 49215)"
        " pass, from here to both hosts and between them",
        (Sign(SYSTEM, FROM_RPC, errno.ETIMEDOUT), Sign(SYSTEM, FROM_RPC, words="Connection timed out"),
         Sign(words="Failed to connect to .*: Connection timed out")),
    ),
    Failure(
        "certificate-expired", "both", "a certificate has expired, or is not valid yet",
        "issue it anew where its file is named, and see that the clocks are right ('openssl x509 -noout -dates -in FILE')",
        (Sign(words=r"certificate\b.* (has expired|is not yet active|is not yet activated)"),),
    ),
    Failure(
        "certificate-name", "destination", "the destination's certificate does not hold the name or address that was used",
        "use a name that is in it ('openssl x509 -noout -ext subjectAltName -in FILE'), or issue it anew with the one in use",
        (Sign(words="Certificate does not match the hostname|owner does not match"),),
    ),
    Failure(
        "certificate-unknown-ca", "both", "a certificate was not signed by the authority that the other side trusts",
        "give both hosts certificates of one authority, and that authority's certificate (/etc/pki/CA/cacert.pem, and"
        " /etc/pki/qemu/ca-cert.pem for QEMU's own TLS)",
        (Sign(words="hasn't got a known issuer|certificate is not trusted"),),
    ),
    Failure(
        "certificate-missing", "both", "a certificate that TLS needs is not there",
        "put it where libvirt names it, or move without TLS over a network that you trust",
        (Sign(words=r"Unable to access credentials|Cannot read (CA )?certificate|Unable to locate .*certificate"),),
    ),
    Failure(
        "certificate-refused", "both", "one side does not accept the other's certificate: it has expired, holds another name, or"
        " is from another authority",
        "libvirt's log on that host says which; 'openssl x509 -noout -dates -ext subjectAltName -issuer -in FILE' shows a"
        " certificate. Each host's must be good for the name or address by which the other calls it",
        (Sign(AUTH_FAILED, words="verify peer's certificate|[Cc]ertificate"),
         Sign(SYSTEM, FROM_RPC, words="Unable to read TLS confirmation")),
    ),
    Failure(
        "authentication", "destination", "the host's libvirt did not let us in",
        "see what it asks for there ('auth_...' in libvirtd.conf, or polkit), and connect once by hand: 'virsh -c URI list'",
        (Sign(AUTH_FAILED), Sign(AUTH_CANCELLED), Sign(AUTH_UNAVAILABLE), Sign(ACCESS_DENIED)),
    ),
    Failure(
        "storage-not-shared", "both", "the guest's disk lies where only its source sees it",
        "put it on storage that both hosts share (list others than NFS, GFS2, OCFS2 and Ceph in 'shared_filesystems' of"
        " qemu.conf on both), or let it move along (migration.storage: full)",
        (Sign(UNSAFE, words="without shared storage"),),
    ),
    Failure(
        "cache-mode", "source", "the guest's disk is cached on its host, so the destination might read what is old",
        "give its disk cache='none' or 'directsync' in the guest's description, restart the guest in order, and move it then",
        (Sign(UNSAFE, words="cache"),),
    ),
    Failure(
        "unsafe", "both", "libvirt does not think that the guest's data would survive this move",
        "change what it names; who overrides it ('--unsafe') may lose what the guest has written",
        (Sign(UNSAFE),),
    ),
    Failure(
        "host-passthrough", "destination", "the processor there cannot take what the source's gave the guest, as happens to"
        " guests with host-passthrough between unlike processors, microcodes or kernels",
        "give the guest a CPU model that both hosts have ('virsh hypervisor-cpu-baseline'), and restart it in order",
        (Sign(words=r"failed to set MSR|kvm_buf_set_msrs|Failed to put registers"),),
    ),
    Failure(
        "cpu", "destination", "the destination's processor lacks features that the guest has been given",
        "move it to a host that has them, or give it a CPU model that both have ('virsh hypervisor-cpu-baseline'), and restart it"
        " in order",
        (Sign(CPU), Sign(words="guest CPU doesn't match specification|CPU feature .* not supported")),
    ),
    Failure(
        "machine-type", "destination", "the destination's QEMU does not know the guest's machine type: it is older, or has"
        " dropped it",
        "use a QEMU there that knows it ('qemu-system-x86_64 -machine help'), or give the guest a machine type that both know,"
        " and restart it in order",
        (Sign(UNSUPPORTED, words="machine type"), Sign(words="unsupported machine type|Unsupported machine type")),
    ),
    Failure(
        "machine-differs", "destination", "the guest was started there as another machine type than it has",
        "use the same machine type, with its version, in both descriptions",
        (Sign(words="Machine type received is"),),
    ),
    Failure(
        "ram-differs", "destination", "the guest has another amount of memory, or other parts of it, in its description there",
        "give both descriptions the same memory, firmware and devices; firmware of one name may differ in size between hosts",
        (Sign(words=r"Size mismatch: \S+:|Length mismatch: \S+:|Unknown ramblock"),),
    ),
    Failure(
        "devices-differ", "destination", "the guest has other devices, or its QEMU other versions of them, than at the source",
        "give both descriptions the same devices and machine type; a move to an older QEMU is not promised to work",
        (Sign(words=r"Unknown savevm section|unsupported version \d+ for|Missing section footer|error while loading state for"
                    r" instance \S+ of device|does not match .* in destination"),),
    ),
    Failure(
        "memory", "destination", "the destination has no memory for the guest",
        "free some there, or move it elsewhere; limits of the group or process count too (systemd's MemoryMax, ulimit -v,"
        " hugepages)",
        (Sign(words="cannot set up guest memory"), Sign(INTERNAL, words="Cannot allocate memory"), Sign(NO_MEMORY),
         Sign(SYSTEM, errno=errno.ENOMEM)),
    ),
    Failure(
        "ports-used-up", "destination", "every port of the range for moves is in use there",
        "wait for other moves to end, or widen 'migration_port_min' to 'migration_port_max' in qemu.conf there",
        (Sign(words="Unable to find an unused port in range"),),
    ),
    Failure(
        "port-in-use", "destination", "another program has the port that the guest was to come in by",
        "see which ('ss -ltnp' there); end it or move it elsewhere, or let libvirt choose another port",
        (Sign(words="Failed to find an available port|migrate-incoming.*Address already in use"),),
    ),
    Failure(
        "disk-size", "destination", "the image for the guest's disk there has another size than the source's",
        "make one of the same size under a name of its own, and describe that; an image that is there may be the only one of"
        " another guest, or of an earlier move",
        (Sign(words="Source and target image have different sizes"),),
    ),
    Failure(
        "disk-missing", "destination", "the destination does not find the guest's disk, or may not open it",
        "mount the storage there at the same path, and see that QEMU's user may read and write it",
        (Sign(SYSTEM, FROM_STORAGE, errno.ENOENT), Sign(words="Cannot access storage file"), Sign(NO_POOL),
         Sign(words=r"Could not open '[^']+': (No such file|Permission denied)")),
    ),
    Failure(
        "already-there", "destination", "the destination has a guest of that name or UUID already",
        "find out whose it is, and whether it runs, before anything is done with it: it may be another guest, or a copy of this"
        " one that an earlier move has left ('whimbrel recover' looks at what is deployed, and ends only what may be ended)",
        (Sign(FAILED, FROM_DOMAIN, words="already (exists|defined)|is already"),
         Sign(INVALID, FROM_DOMAIN, words="already active|already being started")),
    ),
    Failure(
        "job-under-way", "source", "something else is under way with the guest: another move, a save, or a call that hangs",
        "wait for it ('virsh domjobinfo GUEST' shows it), then move the guest again",
        (Sign(INVALID, FROM_QEMU, words="another migration job|another job"),
         Sign(TIMED_OUT, words="state change lock"), Sign(INVALID, words="domain has active block job")),
    ),
    Failure(
        "cancelled", "source", "somebody told libvirt to stop the move",
        "find out who did ('virsh domjobabort', another tool), and move it again",
        (Sign(ABORTED),),
    ),
    Failure(
        "userfaultfd", "destination", "QEMU may not use userfaultfd there, which a post-copy move needs",
        "'sysctl vm.unprivileged_userfaultfd=1' there (libvirt's packages have a file for /etc/sysctl.d), or move it with a"
        " technique without post-copy",
        (Sign(words="[Uu]serfaultfd not available"),),
    ),
    Failure(
        "device", "source", "the guest has a device that cannot be moved",
        "take the device out of the guest, or move the guest with the technique 'cold'",
        (Sign(words=r"[Mm]igration with \S+ device is not supported|State blocked by|non-migratable|assigned non-USB host device"
                    r"|migrate a domain with <hostdev|Migration is disabled"),),
    ),
    Failure(
        "peer-lost", "between", "the source's libvirt lost the destination's in the middle of the move: libvirtd ended there, or"
        " the network between them is cut",
        "see that libvirtd runs there, why it ended ('journalctl -u libvirtd' or -u virtqemud), and that the hosts reach each"
        " other; then move the guest again",
        (Sign(INTERNAL, FROM_RPC, words="client socket is closed|keepalive timeout", silent=False),
         Sign(FAILED, FROM_QEMU, words="Lost connection to destination")),
    ),
    Failure(
        "host-lost", "source", "our own connection to a host's libvirt broke: libvirtd ended there, or the network to it is cut",
        "see that libvirtd runs there, why it ended ('journalctl -u libvirtd' or -u virtqemud), and that it is reached from here;"
        " then move the guest again",
        (Sign(INTERNAL, FROM_RPC, words="client socket is closed|keepalive timeout", silent=True),
         Sign(SYSTEM, FROM_RPC, silent=True, words=r"^(End of file while reading|Cannot (recv|write)) data: "
              "(Input/output error|Connection reset by peer|Broken pipe)$")),
    ),
    Failure(
        "stream-broken", "destination", "the guest's QEMU there ended, or the connection to it broke, in the middle of the move",
        "see why: QEMU's log there, and the kernel's ('dmesg': killed for want of memory, crashed), and the network between the"
        " hosts; then move the guest again",
        (Sign(FAILED, FROM_QEMU, words="Channel error|Unable to (write to|read from) socket|Connection reset by peer|"
              "Broken pipe"),),
    ),
)  # fmt: skip


def diagnose(error: Exception | None, log: str = "") -> Failure | None:
    """Which known failure this is, from what libvirt says and from QEMU's log at the destination; None when it is not known.

    The log counts first: where QEMU refused what came, libvirt often knows only that the connection broke.
    """
    for failure in FAILURES:
        if any(sign == Sign(words=sign.words) and re.search(sign.words or "", log) for sign in failure.signs):
            return failure
    if not isinstance(error, EngineError) or error.number is None:
        return None
    return next((failure for failure in FAILURES if any(_fits(sign, error) for sign in failure.signs)), None)


def _fits(sign: Sign, error: EngineError) -> bool:
    return (
        sign.number in (None, error.number)
        # Who only heard the words does not know who said them.
        and (sign.part in (None, error.part) or (error.part is None and sign.words is not None))
        and sign.errno in (None, error.errno)
        and sign.silent in (None, isinstance(error, SilentError))
        and (sign.words is None or re.search(sign.words, error.details) is not None)
    )


def known(name: str) -> Failure | None:
    """The failure of this name, as records have it."""
    return next((failure for failure in FAILURES if failure.name == name), None)


def number_of(words: str) -> int:
    """libvirt's number of an error of which only its words are known, as virsh prints them (``error: ...``)."""
    said = re.split("^error: ", words, flags=re.MULTILINE)[-1]
    return next((number for number, beginning in _BEGINNINGS.items() if said.startswith(beginning)), SYSTEM)
