//! Dockerfiles as people write them, each with its context.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use support::busybox::World;

/// A Dockerfile with its context.
pub struct Shape {
    pub name: &'static str,
    /// The corpus that its base is made of, which is then `debian:local`.
    pub corpus: Option<&'static str>,
    /// Whether its commands do without /proc and /dev, which a bare chroot has not.
    pub anywhere: bool,
    /// Paths and contents of the context. What begins with `#!` is a program.
    pub files: &'static [(&'static str, &'static str)],
}

impl Shape {
    /// Writes the context.
    pub fn write(&self, world: &World, dir: &Path) {
        for (path, content) in self.files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        if self.corpus.is_none() {
            let bin = dir.join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::copy(world.join("bb/bin/busybox"), bin.join("busybox")).unwrap();
            for applet in [
                "sh", "mkdir", "chown", "chmod", "ln", "rm", "cat", "id", "env", "sed", "sort", "touch",
                "cp", "mv",
            ] {
                symlink("busybox", bin.join(applet)).unwrap();
            }
            let mut tar = tar::Builder::new(Vec::new());
            for (path, mode, content) in [("sub/one", 0o640, "1\n"), ("sub/two", 0o4755, "2\n")] {
                let mut header = tar::Header::new_gnu();
                header.set_mode(mode);
                header.set_uid(11);
                header.set_gid(12);
                header.set_mtime(1_600_000_000);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, &tar.into_inner().unwrap()).unwrap();
            std::fs::write(dir.join("archive.tar.gz"), gzip.finish().unwrap()).unwrap();
        }
        // Whatever the umask of the tests is.
        for entry in walk(dir) {
            if entry.is_dir() && !entry.is_symlink() {
                std::fs::set_permissions(&entry, PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
    }
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut out = vec![dir.to_path_buf()];
    let mut at = 0;
    while at < out.len() {
        if out[at].is_dir() && !out[at].is_symlink() {
            out.extend(std::fs::read_dir(&out[at]).unwrap().map(|entry| entry.unwrap().path()));
        }
        at += 1;
    }
    out
}

/// Nothing below it, and every instruction that both of Docker's builders and buildah have.
pub const SCRATCH: Shape = Shape {
    name: "scratch",
    corpus: None,
    anywhere: true,
    files: &[
        (
            "Dockerfile",
            r#"ARG KIND=plain
FROM scratch AS base
COPY bin /bin/
COPY passwd group /etc/
SHELL ["/bin/sh", "-e", "-c"]
ENV PATH=/bin GREETING="hello there" EMPTY=

FROM base AS made
ARG KIND
ARG UNUSED=x
WORKDIR /work/here
COPY --chown=app:staff src/ ./src/
COPY --chown=7:8 src/one.txt src/*.log /logs/
RUN mkdir out && echo "$KIND $GREETING" > out/said && id -u >> out/said \
    # in the midst
    && ln -s said out/link && ln out/said out/again && chmod 2750 out && chown 31:50 out
RUN touch out/gone kept && mkdir -p deep/er && touch deep/er/file
RUN rm out/gone && rm -rf deep && mkdir deep && chmod 1777 deep

FROM base
LABEL org.example.one=1 org.example.two="two words"
ADD archive.tar.gz /archive/
ADD archive.tar.gz run.sh /files/
COPY --from=made /work /work
COPY --from=0 /etc/passwd /copied/
RUN ["/bin/run.sh", "a b", "$c"]
RUN mkdir -m 1777 /tmp
USER app
RUN echo mine > /tmp/mine && /files/run.sh > /tmp/ran
WORKDIR /home/app
USER 31:50
RUN id -u > /tmp/id && id -g >> /tmp/id
USER app:staff
EXPOSE 80 443/tcp 53/udp
VOLUME ["/data", "/more"]
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=30s --timeout=3s --retries=4 CMD /files/run.sh || exit 1
ONBUILD COPY . /later
ENTRYPOINT ["/files/run.sh"]
CMD ["with", "words"]
"#,
        ),
        (".dockerignore", "# not these\n*.secret\n!kept.secret\nsrc/no*\n"),
        ("passwd", "root:x:0:0:root:/:/bin/sh\napp:x:31:32::/home/app:/bin/sh\n"),
        ("group", "root:x:0:\napp:x:32:\nstaff:x:50:app\n"),
        ("src/one.txt", "one\n"),
        ("src/a.log", "a\n"),
        ("src/b.log", "b\n"),
        ("src/sub/two.txt", "two\n"),
        ("src/nothing", "left out\n"),
        ("a.secret", "left out\n"),
        ("bin/run.sh", "#!/bin/sh\necho \"$# $1 $2\"\n"),
        ("run.sh", "#!/bin/sh\nid -u\n"),
    ],
};

/// Packages by apt from a repository in the base, with what is another at every installation taken away.
pub const NGINX: Shape = Shape {
    name: "nginx",
    corpus: Some("debian-apt"),
    anywhere: false,
    files: &[
        (
            "Dockerfile",
            r#"FROM debian:local
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get -qq update \
 && apt-get -qq install -y --no-install-recommends nginx-light curl \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig /var/log/*.log /var/log/apt /var/log/lastlog /var/log/faillog \
 && rm -f /etc/*- /var/cache/debconf/*-old /var/lib/dpkg/*-old /etc/shadow /etc/machine-id
COPY site.conf /etc/nginx/sites-enabled/default
COPY html /var/www/html
RUN ln -sf /dev/stdout /var/log/nginx/access.log && nginx -t -q && curl --version > /var/www/html/version && rm -f /run/nginx.pid
EXPOSE 8080
STOPSIGNAL SIGQUIT
HEALTHCHECK CMD curl -fs http://localhost:8080/ || exit 1
CMD ["nginx", "-g", "daemon off;"]
"#,
        ),
        ("site.conf", "server { listen 8080; root /var/www/html; }\n"),
        ("html/index.html", "<h1>hello</h1>\n"),
        ("html/css/a.css", "h1 { color: green }\n"),
    ],
};
