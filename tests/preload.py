"""Small libraries that we start a process with, to see or to change what the system does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import must_be_there

SYNCS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int told(const char *name, int fd) {
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int done = real(fd);
    int log = open(getenv("SYNCED"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (size > 0 && log >= 0) {
        path[size] = '\\n';
        if (write(log, path, size + 1) < 0) abort();
        close(log);
    }
    return done;
}

int fsync(int fd) { return told("fsync", fd); }
int fdatasync(int fd) { return told("fdatasync", fd); }
"""
"""Writes the path of every file that was synced into the file that $SYNCED names."""
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, at);
    if (id == CLOCK_REALTIME) at->tv_sec += atol(getenv("AHEAD"));
    return done;
}
"""
"""The clock on the wall is $AHEAD seconds ahead."""


def compiled(source: str, folder: Path) -> Path:
    """The library. A skip without a compiler, or a failure where tests decide."""
    compiler = shutil.which("cc")
    if not compiler:
        (pytest.fail if must_be_there() else pytest.skip)("a C compiler is needed")
    (folder / "preload.c").write_text(source)
    subprocess.run(
        [str(compiler), "-shared", "-fPIC", "-o", "preload.so", "preload.c", "-ldl"],
        cwd=folder,
        check=True,
        timeout=60,
    )
    return folder / "preload.so"
