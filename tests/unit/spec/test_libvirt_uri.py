"""A file's URI names a host, and starts no program, gives no option, and turns no check off."""

from __future__ import annotations

import pytest

from whimbrel.spec.libvirt_uri import UriParts, is_loopback, split_libvirt_uri


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("qemu:///system", UriParts("unix", "", "", None)),
        ("qemu+unix:///system?socket=/run/x/sock", UriParts("unix", "", "", None, {"socket": "/run/x/sock"})),
        ("qemu://one.example/system", UriParts("tls", "", "one.example", None)),
        (
            "qemu+tls://10.0.0.1:16514/system?pkipath=/etc/pki/us",
            UriParts("tls", "", "10.0.0.1", 16514, {"pkipath": "/etc/pki/us"}),
        ),
        ("qemu+tcp://[fd00::1]:16509/system", UriParts("tcp", "", "fd00::1", 16509)),
        (
            "qemu+ssh://root@one/system?keyfile=/root/k&no_tty=1&proxy=native&mode=direct",
            UriParts("ssh", "root", "one", None, {"keyfile": "/root/k", "no_tty": "1", "proxy": "native", "mode": "direct"}),
        ),
        (
            "qemu+libssh://one/system?sshauth=privkey,agent&known_hosts=/root/%6bnown",
            UriParts("libssh", "", "one", None, {"sshauth": "privkey,agent", "known_hosts": "/root/known"}),
        ),
    ],
)
def test_a_uri_is_taken_apart(uri: str, parts: UriParts) -> None:
    assert split_libvirt_uri(uri) == parts


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("qemu+ext:///system?command=/tmp/x", "may not ask for the transport 'ext'"),
        ("qemu+ext://h/system", "may not ask for the transport 'ext'"),
        ("qemu+ssh://h/system?command=/tmp/x", "may not give ssh the parameter 'command'"),
        ("qemu+ssh://h/system?COMMAND=/tmp/x", "may not give ssh the parameter 'COMMAND'"),
        ("qemu+ssh://h/system?%63ommand=/tmp/x", "may not give ssh the parameter"),
        ("qemu+ssh://h/system?no_tty=1;command=/tmp/x", "may not give ssh the parameter 'command'"),
        ("qemu+ssh://h/system?netcat=/tmp/x", "may not give ssh the parameter 'netcat'"),
        ("qemu+libssh://h/system?netcat=/tmp/x", "may not give libssh the parameter 'netcat'"),
        ("qemu+libssh2://h/system?known_hosts_verify=ignore", "may not give libssh2 the parameter"),
        ("qemu+libssh://h/system?sshauth=password", "can be agent, privkey or both"),
        ("qemu+tls://h/system?no_verify=1", "may not give tls the parameter 'no_verify'"),
        ("qemu+ssh://h/system?no_verify=1", "may not give ssh the parameter 'no_verify'"),
        ("qemu+tls://h/system?name=qemu%2bext:///system", "may not give tls the parameter 'name'"),
        ("qemu+tcp://h/system?socket=/x", "it may have none"),
        ("qemu+unix:///system?socket=../x", "is no absolute path"),
        ("qemu+unix:///system?socket=/run/../x", "is no absolute path"),
        ("qemu+ssh://h/system?socket=/x;touch", "may not give ssh the parameter 'touch'"),
        ("qemu+ssh://h/system?socket=/x%3btouch", "is no absolute path"),
        ("qemu+ssh://h/system?socket=$(touch)", "is no absolute path"),
        ("qemu+ssh://h/system?keyfile=-oProxyCommand=x", "is no absolute path"),
        ("qemu+ssh://h/system?keyfile=/a&keyfile=/b", "is there twice"),
        ("qemu+ssh://-oProxyCommand=x/system", "no name or address"),
        ("qemu+ssh://-oProxyCommand=x@h/system", "cannot be a user"),
        ("qemu+ssh://h;touch/system", "no name or address"),
        ("qemu+ssh://$(touch)/system", "no name or address"),
        ("qemu+ssh://u:secret@h/system", "cannot be a user"),
        ("qemu+ssh://`x`@h/system", "cannot be a user"),
        ("qemu+tls://u@h/system", "cannot be a user"),
        ("qemu+e\nxt:///system?command=/tmp/x", "no libvirt URI"),
        ("qemu+tls://h/system\n", "no libvirt URI"),
        ("qemu+tls://h/system#x", "no libvirt URI"),
        ("qemu+tls://h/../system", "no libvirt URI"),
        ("qemu+tls://h/session", "no libvirt URI"),
        ("qemux://h/system", "no libvirt URI"),
        ("xen://h/system", "no libvirt URI"),
        ("qemu+tls:///system", "names no host"),
        ("qemu+unix://h/system", "has no host"),
        ("qemu+tls://h:0/system", "is no port"),
        ("qemu+tls://h:99999/system", "is no port"),
        ("qemu+tls://1.2.3/system", "is no address"),
        ("qemu+tls://[::g]/system", "no libvirt URI"),
    ],
)
def test_what_could_do_harm_is_refused(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        split_libvirt_uri(uri)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.0.1.1", True), ("::1", True), ("0.0.0.0", True), ("::", True), ("localhost", True),
     ("LOCALHOST.", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False), ("one.example", False), ("fd00::1", False)],
)  # fmt: skip
def test_what_means_the_machine_that_uses_it(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
