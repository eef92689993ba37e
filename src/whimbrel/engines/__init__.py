"""One door per engine: a hypervisor (libvirt with QEMU), the guest agent, CRIU; typed results, known failures, no policy."""
