"""One door per engine (libvirt, QEMU monitor, guest agent); typed results, no policy."""
