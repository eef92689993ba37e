"""Known failures of moves, provoked with real libvirt and real QEMU.

``python -m tests.provocations tests/recorded/failures.json`` provokes all of them and writes down what was said; what that file
has from elsewhere stays in it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.saboteur import kill, processes, set_link
from tests.scene import NAME, UUID, Scene, disk, scene_in_a_lab, vm
from whimbrel.engines.domain import Domain
from whimbrel.engines.hypervisor import Progress
from whimbrel.engines.qemu_log import words_since
from whimbrel.errors import EngineError, SilentError
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.process import run


@dataclass(frozen=True)
class Said:
    """What was said of a failure: by libvirt, with its number and the part of it that said so, and by QEMU in its log there."""

    provocation: str
    failure: str
    heard: str
    silent: bool
    number: int | None
    origin: int | None
    errno: int | None
    words: str
    log: str


_HERE = "provoked in a lab"

Provocation = Callable[[Scene], None]
PROVOCATIONS: dict[str, tuple[str, Provocation]] = {}


def provokes(failure: str) -> Callable[[Provocation], Provocation]:
    """Of this failure, by the name that it has in ``engines.failures``."""

    def keep(provocation: Provocation) -> Provocation:
        PROVOCATIONS[provocation.__name__] = (failure, provocation)
        return provocation

    return keep


@provokes("same-host")
def the_destination_is_the_source(scene: Scene) -> None:
    scene.move(peer_uri=scene.a.peering.peer_uri)


@provokes("no-route")
def nobody_has_the_peers_address(scene: Scene) -> None:
    scene.move(peer_uri=f"qemu+tls://{scene.nobody}/system")


@provokes("connection-refused")
def libvirtd_does_not_listen(scene: Scene) -> None:
    scene.move(peer_uri=scene.b.peering.peer_uri.replace("/system", ":1/system"))


@provokes("name-unknown")
def the_peers_name_is_unknown(scene: Scene) -> None:
    scene.move(peer_uri="qemu+tls://nobody.invalid/system")


def _swallow(scene: Scene) -> None:
    """What is sent to nobody's address is lost, as behind a firewall that drops."""
    tries = "/proc/sys/net/ipv4/tcp_syn_retries"
    harm = f"ip neigh replace {scene.nobody} lladdr 02:00:00:00:00:77 dev br0 nud permanent; echo 1 >{tries}"
    scene.harm(scene.a, harm, f"ip neigh del {scene.nobody} dev br0; echo 6 >{tries}")


@provokes("timed-out")
def the_peer_does_not_answer(scene: Scene) -> None:
    _swallow(scene)
    scene.move(peer_uri=f"qemu+tls://{scene.nobody}/system")


@provokes("no-route")
def nobody_has_the_address_for_memory(scene: Scene) -> None:
    scene.move(move_uri=f"tcp://{scene.nobody}")


@provokes("connection-refused")
def nobody_listens_for_memory(scene: Scene) -> None:
    scene.move(move_uri=f"tcp://{scene.a.address}")


@provokes("timed-out")
def nobody_answers_for_memory(scene: Scene) -> None:
    _swallow(scene)
    scene.move(move_uri=f"tcp://{scene.nobody}")


@provokes("name-unknown")
def the_name_for_memory_is_unknown(scene: Scene) -> None:
    scene.move(move_uri="tcp://nobody.invalid")


@provokes("certificate-refused")
def the_certificate_has_another_name(scene: Scene) -> None:
    hosts = scene.a.seen_from_here("/etc/hosts")
    before = hosts.read_text()
    scene.afterwards(lambda: hosts.write_text(before))
    hosts.write_text(f"{before}{scene.b.address} other-name\n")
    scene.move(peer_uri="qemu+tls://other-name/system")


@provokes("certificate-refused")
def the_ca_is_unknown(scene: Scene) -> None:
    scene.replace_file(scene.a, "/etc/pki/CA/cacert.pem", scene.stranger().certificate)
    scene.stranger().issue("server-a", [], scene.folder / "cert.pem", scene.folder / "key.pem")
    scene.replace_file(scene.a, "/etc/pki/libvirt/clientcert.pem", scene.folder / "cert.pem")
    scene.replace_file(scene.a, "/etc/pki/libvirt/private/clientkey.pem", scene.folder / "key.pem")
    scene.move()


@provokes("certificate-unknown-ca")
def our_own_certificate_is_from_another_ca(scene: Scene) -> None:
    scene.replace_file(scene.a, "/etc/pki/CA/cacert.pem", scene.stranger().certificate)
    scene.move()


@provokes("certificate-expired")
def our_own_certificate_has_expired(scene: Scene) -> None:
    expired = scene.expired(scene.a)
    scene.replace_file(scene.a, "/etc/pki/libvirt/clientcert.pem", expired)
    scene.move()


@provokes("certificate-refused")
def the_peer_does_not_accept_our_certificate(scene: Scene) -> None:
    """We know both authorities, it knows one."""
    stranger, both = scene.stranger(), scene.folder / "both.pem"
    both.write_bytes(scene.lab.authority.certificate.read_bytes() + stranger.certificate.read_bytes())
    scene.replace_file(scene.a, "/etc/pki/CA/cacert.pem", both)
    stranger.issue("server-a", [], scene.folder / "cert.pem", scene.folder / "key.pem")
    scene.replace_file(scene.a, "/etc/pki/libvirt/clientcert.pem", scene.folder / "cert.pem")
    scene.replace_file(scene.a, "/etc/pki/libvirt/private/clientkey.pem", scene.folder / "key.pem")
    scene.move()


@provokes("certificate-missing")
def there_is_no_certificate(scene: Scene) -> None:
    scene.take_away(scene.a, "/etc/pki/libvirt/clientcert.pem")
    scene.take_away(scene.a, "/etc/pki/CA/cacert.pem")
    scene.move()


@provokes("certificate-missing")
def qemu_has_no_certificate(scene: Scene) -> None:
    scene.take_away(scene.b, "/etc/pki/qemu")
    scene.move(tls=True)


@provokes("certificate-name")
def qemus_certificate_has_another_name(scene: Scene) -> None:
    hosts = scene.a.seen_from_here("/etc/hosts")
    before = hosts.read_text()
    scene.afterwards(lambda: hosts.write_text(before))
    hosts.write_text(f"{before}{scene.b.address} other-name\n")
    scene.move(tls=True, move_uri="tcp://other-name")


@provokes("certificate-unknown-ca")
def qemus_ca_is_unknown(scene: Scene) -> None:
    stranger = scene.stranger()
    scene.replace_file(scene.a, "/etc/pki/qemu/ca-cert.pem", stranger.certificate)
    stranger.issue("server-a", [scene.a.address], scene.folder / "cert.pem", scene.folder / "key.pem")
    scene.replace_file(scene.a, "/etc/pki/qemu/client-cert.pem", scene.folder / "cert.pem")
    scene.replace_file(scene.a, "/etc/pki/qemu/client-key.pem", scene.folder / "key.pem")
    scene.move(tls=True)


@provokes("certificate-expired")
def qemus_certificate_has_expired(scene: Scene) -> None:
    scene.replace_file(scene.b, "/etc/pki/qemu/server-cert.pem", scene.expired(scene.b))
    scene.move(tls=True)


@provokes("storage-not-shared")
def the_disk_is_not_shared(scene: Scene) -> None:
    for server in (scene.a, scene.b):
        scene.image(server, "/srv/own/mover.img")
    scene.move(vm(devices=disk("/srv/own/mover.img")))


_CPU = """\
<cpu mode="custom" match="exact" check="{check}"><model fallback="forbid">{model}</model>
<feature policy="require" name="{feature}"/></cpu>"""


@provokes("cpu")
def the_processor_lacks_a_feature(scene: Scene) -> None:
    cpu = (
        '<cpu mode="custom" match="exact" check="full"><model>qemu64</model><feature policy="require" name="avx512-fp16"/></cpu>'
    )
    scene.at(scene.b).create(vm(more=cpu))


@provokes("cpu")
def the_processor_lacks_a_feature_in_kvm(scene: Scene) -> None:
    scene.at(scene.b).create(vm(kind="kvm", more=_CPU.format(check="partial", model="EPYC-Genoa", feature="amx-tile")))


@provokes("machine-type")
def the_machine_type_is_unknown(scene: Scene) -> None:
    scene.at(scene.b).create(vm(machine="pc-i440fx-99.0"))


@provokes("memory")
def there_is_no_memory(scene: Scene) -> None:
    [libvirtd] = processes(scene.lab, "b", "libvirtd")
    domain = scene.at(scene.a).create(vm(memory_mib=64 * 1024))
    run(["prlimit", "--pid", str(libvirtd.pid), "--as=34359738368:"])
    scene.afterwards(lambda: run(["prlimit", "--pid", str(libvirtd.pid), "--as=unlimited:"]))
    domain.migrate(scene.options())


@provokes("ports-used-up")
def every_port_is_taken(scene: Scene) -> None:
    with scene.listening(scene.b, 49152, 49215):
        scene.move()


@provokes("port-in-use")
def the_port_is_taken(scene: Scene) -> None:
    with scene.listening(scene.b, 50000, 50000):
        scene.move(move_uri=f"tcp://{scene.b.address}:50000")


@provokes("bridge-missing")
def the_bridge_is_missing(scene: Scene) -> None:
    scene.harm(scene.a, "ip link add brother type bridge", "ip link del brother")
    scene.move(vm(devices='<interface type="bridge"><source bridge="brother"/></interface>'))


@provokes("network-missing")
def the_network_is_missing(scene: Scene) -> None:
    scene.at(scene.b).create(vm(devices='<interface type="network"><source network="brother"/></interface>'))


@provokes("disk-missing")
def the_shared_disk_is_missing(scene: Scene) -> None:
    scene.image(scene.a, "/srv/shared/mover.img")
    scene.b.run(["mount", "-t", "tmpfs", "none", "/srv/shared"])
    scene.afterwards(lambda: scene.b.run(["umount", "/srv/shared"]))
    scene.move(vm(devices=disk("/srv/shared/mover.img")))


@provokes("disk-missing")
def the_disk_that_moves_along_is_missing(scene: Scene) -> None:
    scene.image(scene.a, "/srv/own/mover.img")
    scene.move(vm(devices=disk("/srv/own/mover.img")), storage="full")


@provokes("disk-size")
def the_disk_that_moves_along_has_another_size(scene: Scene) -> None:
    scene.image(scene.a, "/srv/own/mover.img")
    scene.image(scene.b, "/srv/own/mover.img", "4M")
    scene.move(vm(devices=disk("/srv/own/mover.img")), storage="full")


@provokes("already-there")
def the_name_is_taken(scene: Scene) -> None:
    scene.at(scene.b).create(vm(uuid=UUID.replace("aa", "bb")))
    scene.move()


@provokes("already-there")
def the_uuid_is_taken(scene: Scene) -> None:
    scene.at(scene.b).create(vm(name="another"))
    scene.move()


@provokes("already-there")
def it_is_there_already(scene: Scene) -> None:
    scene.at(scene.b).create(vm())
    scene.move()


def _in_the_middle(scene: Scene, then: Callable[[Domain], None]) -> None:
    """A move that lasts: its destination's QEMU is stopped once it is there. What it ends with is raised."""
    domain = scene.at(scene.a).create(vm(memory_mib=2048))
    ended: list[EngineError] = []

    def call() -> None:
        try:
            domain.migrate(scene.options(bandwidth_mib_per_s=1))
        except EngineError as error:
            ended.append(error)

    moving = threading.Thread(target=call, daemon=True)
    moving.start()

    def sending() -> tuple[bool | None, str]:
        return (True, "it sends") if (domain.progress() or Progress()).transferred_bytes else (None, "it does not send yet")

    wait_until(sending, "the move", Deadline(30))
    try:
        then(domain)
    finally:
        with suppress(EngineError):
            domain.abort()
        moving.join(120)
    if ended:
        raise ended[0]


@provokes("job-under-way")
def another_job_is_under_way(scene: Scene) -> None:
    def again(domain: Domain) -> None:
        [qemu] = processes(scene.lab, "b", "qemu-system")
        run(["kill", "-STOP", str(qemu.pid)])
        try:
            domain.migrate(scene.options())
        finally:
            run(["kill", "-CONT", str(qemu.pid)])

    _in_the_middle(scene, again)


@provokes("cancelled")
def somebody_cancels_it(scene: Scene) -> None:
    _in_the_middle(scene, lambda domain: domain.abort())


@provokes("stream-broken")
def the_destinations_qemu_is_killed(scene: Scene) -> None:
    def harm(_: Domain) -> None:
        [qemu] = processes(scene.lab, "b", "qemu-system")
        kill(qemu)
        time.sleep(3)

    _in_the_middle(scene, harm)


@provokes("peer-lost")
def the_destinations_libvirt_is_killed(scene: Scene) -> None:
    def harm(_: Domain) -> None:
        [libvirtd] = processes(scene.lab, "b", "libvirtd")
        kill(libvirtd)
        time.sleep(3)

    scene.afterwards(scene.open_again)
    _in_the_middle(scene, harm)


@provokes("device")
def a_device_cannot_move(scene: Scene) -> None:
    scene.move(vm(devices='<shmem name="mover"><model type="ivshmem-plain"/><size unit="M">4</size></shmem>'))


@provokes("userfaultfd")
def post_copy_is_not_allowed(scene: Scene) -> None:
    """QEMU there as a user of its own, as most hosts run it, who may not use userfaultfd."""
    file = scene.b.seen_from_here("/etc/libvirt/qemu.conf")
    as_root = file.read_text()

    def configure(text: str) -> None:
        file.write_text(text)
        [libvirtd] = processes(scene.lab, "b", "libvirtd")
        kill(libvirtd)
        time.sleep(1)
        scene.open_again()

    scene.afterwards(lambda: configure(as_root))
    configure(as_root.replace('user = "root"', 'user = "nobody"').replace('group = "root"', 'group = "nogroup"'))
    scene.move(post_copy=True)


@provokes("host-lost")
def the_sources_libvirt_is_killed(scene: Scene) -> None:
    def harm(_: Domain) -> None:
        [libvirtd] = processes(scene.lab, "a", "libvirtd")
        kill(libvirtd)
        time.sleep(3)

    scene.afterwards(scene.open_again)
    _in_the_middle(scene, harm)


@provokes("peer-lost")
def the_link_is_cut(scene: Scene) -> None:
    def harm(_: Domain) -> None:
        set_link(scene.lab, "b", "down")
        time.sleep(50)

    scene.afterwards(lambda: set_link(scene.lab, "b", "up"))
    _in_the_middle(scene, harm)


@provokes("job-under-way")
def the_guest_is_held_by_a_call(scene: Scene) -> None:
    domain = scene.at(scene.a).create(vm())
    [qemu] = processes(scene.lab, "a", "qemu-system")
    run(["kill", "-STOP", str(qemu.pid)])
    asking = threading.Thread(target=lambda: domain.monitor("query-status"), daemon=True)
    asking.start()
    time.sleep(1)
    try:
        domain.migrate(scene.options())
    finally:
        run(["kill", "-CONT", str(qemu.pid)])
        asking.join(30)


def _raw(scene: Scene, send: list[str], take: list[str]) -> None:
    """QEMU's own refusal of what another QEMU sent: the words of its log."""
    base = ["qemu-system-x86_64", "-display", "none", "-nodefaults", "-accel", "tcg", "-monitor", "stdio", "-S"]
    script = "{ echo 'migrate exec:cat>/tmp/state'; sleep 2; echo quit; } | \"$@\""
    sent = scene.b.run(["sh", "-c", script, "sh", *base, *send])
    refused = re.search("^Error: .*", sent.stdout, re.MULTILINE)
    if refused is not None:
        raise EngineError("QEMU refused", details=refused.group())
    done = scene.b.run([*base, *take, "-incoming", "file:/tmp/state"], check=False, timeout_s=20)
    raise EngineError("QEMU refused", details=done.stderr.strip())


@provokes("device")
def a_device_of_qemus_cannot_move(scene: Scene) -> None:
    image = ["-blockdev", "null-co,size=1048576,node-name=none"]
    _raw(scene, [*image, "-device", "nvme,drive=none,serial=1"], [])


@provokes("ram-differs")
def memory_has_another_size(scene: Scene) -> None:
    _raw(scene, ["-m", "64"], ["-m", "96"])


@provokes("machine-differs")
def the_machine_is_another(scene: Scene) -> None:
    _raw(scene, ["-M", "pc-i440fx-9.2"], ["-M", "pc-i440fx-10.0"])


@provokes("devices-differ")
def a_device_is_missing(scene: Scene) -> None:
    _raw(scene, ["-device", "virtio-rng-pci"], [])


def provoke(scene: Scene, name: str) -> Said:
    """What is said when this is provoked."""
    failure, provocation = PROVOCATIONS[name]
    began_s = time.time()
    try:
        provocation(scene)
    except EngineError as error:
        log = words_since(scene.b.access.logs().get(f"b-{NAME}.log", ""), began_s)
        return Said(
            name, failure, _HERE, isinstance(error, SilentError), error.number, error.part, error.errno, error.details, log
        )
    finally:
        scene.clear()
    raise AssertionError(f"nothing failed: {name}")


def main() -> None:
    """See above."""
    file = Path(sys.argv[1])
    from_elsewhere = [each for each in json.loads(file.read_text()) if each["heard"] != _HERE] if file.exists() else []
    with tempfile.TemporaryDirectory(prefix="whimbrel-") as folder, scene_in_a_lab(Path(folder)) as scene:
        found = [asdict(provoke(scene, name)) for name in PROVOCATIONS]
    file.write_text(json.dumps(found + from_elsewhere, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
