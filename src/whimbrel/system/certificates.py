"""A private certificate authority and what it signs, by openssl(1). Names of files are those that libvirt and QEMU look for.

libvirt: https://libvirt.org/kbase/tlscerts.html. QEMU: docs/system/tls.rst.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from whimbrel.system.process import run

_DAYS = "3650"
_FOR_AN_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
# libvirt refuses a certificate without key encipherment, whatever the key.
_FOR_HOSTS = (
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature,keyEncipherment",
    "extendedKeyUsage=serverAuth,clientAuth",
)
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A private CA; its key lies in ``folder`` and nowhere else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "cacert.pem"
        self._key = folder / "cakey.pem"

    def create(self) -> None:
        """Makes the certificate authority: its key and its certificate."""
        self._folder.mkdir(parents=True)
        self._folder.chmod(0o700)
        # Of the machine's own configuration of openssl, which adds extensions of its own, nothing is used.
        (self._folder / "openssl.cnf").write_text("[req]\ndistinguished_name = name\n[name]\n")
        self._request("whimbrel lab", self.certificate, self._key, _FOR_AN_AUTHORITY)

    def issue(self, common_name: str, also: Sequence[str], certificate: Path, key: Path) -> None:
        """Signs a new key for server and client use; ``also`` are names and addresses it is known by."""
        names = ",".join(f"{'IP' if name.replace('.', '').isdigit() else 'DNS'}:{name}" for name in (common_name, *also))
        for file in (certificate, key):
            file.parent.mkdir(parents=True, exist_ok=True)
        extensions = [f"subjectAltName={names}", *_FOR_HOSTS]
        self._request(common_name, certificate, key, extensions, "-CA", str(self.certificate), "-CAkey", str(self._key))

    def _request(self, common_name: str, certificate: Path, key: Path, extensions: Sequence[str], *signer: str) -> None:
        added = [word for extension in extensions for word in ("-addext", extension)]
        run(["openssl", "req", "-x509", "-config", self._folder / "openssl.cnf", *_KEY, "-days", _DAYS,
             "-subj", f"/CN={common_name}", "-keyout", key, "-out", certificate, *signer, *added])  # fmt: skip
        key.chmod(0o600)


def equip_host(authority: Authority, name: str, also: Sequence[str], pki: Path) -> None:
    """Everything a host's libvirtd and QEMU need, below its ``/etc/pki``."""
    libvirt, private = pki / "libvirt", pki / "libvirt" / "private"
    authority.issue(name, also, libvirt / "servercert.pem", private / "serverkey.pem")
    for copy in ("CA/cacert.pem", "qemu/ca-cert.pem"):
        (pki / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(authority.certificate, pki / copy)
    for certificate, key in (
        (libvirt / "clientcert.pem", private / "clientkey.pem"),
        (pki / "qemu" / "server-cert.pem", pki / "qemu" / "server-key.pem"),
        (pki / "qemu" / "client-cert.pem", pki / "qemu" / "client-key.pem"),
    ):
        shutil.copyfile(libvirt / "servercert.pem", certificate)
        shutil.copyfile(private / "serverkey.pem", key)
        key.chmod(0o600)


def equip_client(authority: Authority, name: str, folder: Path) -> None:
    """What a client of libvirt needs in one folder, for ``?pkipath=`` in its URI."""
    authority.issue(name, [], folder / "clientcert.pem", folder / "clientkey.pem")
    shutil.copyfile(authority.certificate, folder / "cacert.pem")
