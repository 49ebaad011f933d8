"""An image without Docker, in ten lines."""

import pathlib

import treering

rootfs = pathlib.Path("hello-rootfs")
rootfs.mkdir()
(rootfs / "hello.txt").write_text("hello\n")
with treering.Store("hello-store") as store:
    image = store.commit(rootfs, "hello:v1", changes=['CMD ["/bin/cat", "/hello.txt"]'], reproducible=True)
    store.save(["hello:v1"], "hello.tar")  # for `docker load` or `podman load`
print(image.id)
