/* SPDX-License-Identifier: MIT
 *
 * Preloaded into a server, it makes a disk fail as the kernel reports it, for as long as a flag file exists:
 *
 *     $DISK_FAULTS/EIO-on-sync   fsync and fdatasync fail with EIO, and so do syncs asked for by io_submit
 *     $DISK_FAULTS/EROFS         nothing below $DISK_FOLDER can be written, made, renamed or removed: what programs
 *                                see when the kernel makes a file system read-only beneath files that are open
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name) __extension__((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int flagged(const char *flag)
{
    char path[4096];
    const char *folder = getenv("DISK_FAULTS");
    int before = errno, there;
    if (!folder)
        return 0;
    snprintf(path, sizeof path, "%s/%s", folder, flag);
    there = access(path, F_OK) == 0;
    errno = before;
    return there;
}

static int below(const char *path)
{
    const char *folder = getenv("DISK_FOLDER");
    return folder && !strncmp(path, folder, strlen(folder));
}

static int path_read_only(const char *path)
{
    if (!below(path) || !flagged("EROFS"))
        return 0;
    errno = EROFS;
    return 1;
}

static int file_read_only(int descriptor)
{
    char link[64], path[4096];
    ssize_t length;
    if (!flagged("EROFS"))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (!below(path))
        return 0;
    errno = EROFS;
    return 1;
}

static int cannot_sync(void)
{
    if (!flagged("EIO-on-sync"))
        return 0;
    errno = EIO;
    return 1;
}

int fsync(int descriptor) { return cannot_sync() ? -1 : NEXT(fsync)(descriptor); }
int fdatasync(int descriptor) { return cannot_sync() ? -1 : NEXT(fdatasync)(descriptor); }

/* The C library has no function for io_getevents: who calls it does so by number. */
long syscall(long number, ...)
{
    va_list rest;
    long argument[6], result;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        argument[i] = va_arg(rest, long);
    va_end(rest);
    result = NEXT(syscall)(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
    if (number == SYS_io_getevents && result == 1 && flagged("EIO-on-sync"))
        ((struct io_event *)argument[3])->res = -EIO;
    return result;
}

#define WRITES(flags) (((flags)&O_ACCMODE) != O_RDONLY || (flags) & (O_CREAT | O_TRUNC))
#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        mode_t mode;                                                                                                   \
        va_start(rest, flags);                                                                                         \
        mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                             \
        va_end(rest);                                                                                                  \
        return WRITES(flags) && path_read_only(path) ? -1 : NEXT(name)(path, flags, mode);                             \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int descriptor, const void *data, size_t size)
{
    return file_read_only(descriptor) ? -1 : NEXT(write)(descriptor, data, size);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    return file_read_only(descriptor) ? -1 : NEXT(pwrite)(descriptor, data, size, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset)
{
    return file_read_only(descriptor) ? -1 : NEXT(pwrite64)(descriptor, data, size, offset);
}

int ftruncate(int descriptor, off_t size) { return file_read_only(descriptor) ? -1 : NEXT(ftruncate)(descriptor, size); }

int ftruncate64(int descriptor, off64_t size)
{
    return file_read_only(descriptor) ? -1 : NEXT(ftruncate64)(descriptor, size);
}

int posix_fallocate(int descriptor, off_t offset, off_t size)
{
    return file_read_only(descriptor) ? EROFS : NEXT(posix_fallocate)(descriptor, offset, size);
}

int posix_fallocate64(int descriptor, off64_t offset, off64_t size)
{
    return file_read_only(descriptor) ? EROFS : NEXT(posix_fallocate64)(descriptor, offset, size);
}

int unlink(const char *path) { return path_read_only(path) ? -1 : NEXT(unlink)(path); }
int mkdir(const char *path, mode_t mode) { return path_read_only(path) ? -1 : NEXT(mkdir)(path, mode); }

int rename(const char *from, const char *to)
{
    return path_read_only(from) || path_read_only(to) ? -1 : NEXT(rename)(from, to);
}

int link(const char *from, const char *to) { return path_read_only(to) ? -1 : NEXT(link)(from, to); }
