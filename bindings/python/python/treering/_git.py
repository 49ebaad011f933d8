"""git, for builds from repositories."""

from __future__ import annotations

import os
import shutil
import subprocess

#: Variables of this process's environment that git needs to reach servers.
_PASSED = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
)


def run_git(directory: str, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run the ``git`` of ``PATH`` for a build: ``store.build(context_address=..., git=treering.run_git)``.

    It has the environment that it is given (no configuration of the user or the machine, no questions), ``PATH``, and what says how
    servers are reached. Ctrl-C ends it; another cancellation is seen when it has ended.
    """
    places = [place for place in os.get_exec_path() if os.path.isabs(place)]
    program = shutil.which("git", path=os.pathsep.join(places)) if places else None
    if program is None:
        raise FileNotFoundError("there is no git on PATH")
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return subprocess.run(
        [program, *arguments],
        cwd=directory,
        env={"PATH": os.pathsep.join(places), **passed, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
