// An upload that cannot fit is refused before a byte of it is sent, with the reason. By itself XRootD finds out while it
// writes, and over HTTP it then breaks the connection off without a word. And an upload that is refused, for whatever reason,
// takes nothing with it: XRootD removes what was not closed by its writer (`ofs.persist`), under the name of the upload, where
// the file lies that was to be replaced. A plug-in for `ofs.osslib ++`; written by Farmlet.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "XrdOss/XrdOssWrapper.hh"
#include "XrdOuc/XrdOucEnv.hh"
#include "XrdVersion.hh"

namespace {

constexpr long long NO_LIMIT = -1;
constexpr long long MAX_REFERENCED = 1;  // flag of a quota group: all that its subvolume refers to is limited

// The number in a file of sysfs, or `otherwise`.
long long read_number(const std::string &path, long long otherwise) {
    long long value = otherwise;
    if (FILE *stream = fopen(path.c_str(), "re")) {
        if (fscanf(stream, "%lli", &value) != 1) value = otherwise;
        fclose(stream);
    }
    return value;
}

// Bytes that btrfs lets be added to the subvolume of a folder, or NO_LIMIT. Who shares an extent counts it whole.
long long find_quota(int folder) {
    btrfs_ioctl_ino_lookup_args subvolume{};
    btrfs_ioctl_fs_info_args system{};
    subvolume.objectid = BTRFS_FIRST_FREE_OBJECTID;
    if (ioctl(folder, BTRFS_IOC_INO_LOOKUP, &subvolume) || ioctl(folder, BTRFS_IOC_FS_INFO, &system)) return NO_LIMIT;
    std::string group = "/sys/fs/btrfs/";
    for (int place = 0; place < BTRFS_FSID_SIZE; place++) {
        char byte[4];
        snprintf(byte, sizeof byte, "%02x", system.fsid[place]);
        if (place == 4 || place == 6 || place == 8 || place == 10) group += '-';
        group += byte;
    }
    group += "/qgroups/0_" + std::to_string(subvolume.treeid) + "/";
    long long limit = read_number(group + "max_referenced", NO_LIMIT);
    if (!(read_number(group + "limit_flags", 0) & MAX_REFERENCED) || limit < 0) return NO_LIMIT;
    long long left = limit - read_number(group + "referenced", 0);
    return left > 0 ? left : 0;
}

// 0 if a file of `size` bytes fits at `path`, else what is in the way, as errno. `path`: in the file system; its folders
// may not be there yet. What cannot be found out is in nobody's way.
int find_obstacle(std::string path, long long size) {
    struct stat old;
    if (!stat(path.c_str(), &old)) size -= 512LL * old.st_blocks;  // it is replaced
    for (size_t end = path.rfind('/'); end != std::string::npos && end > 0; end = path.rfind('/')) {
        path.resize(end);
        int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0) continue;
        struct statvfs disk;
        long long quota = find_quota(folder);
        bool known = !fstatvfs(folder, &disk);
        close(folder);
        if (quota != NO_LIMIT && size > quota) return EDQUOT;
        return known && size > static_cast<long long>(disk.f_bavail) * static_cast<long long>(disk.f_frsize) ? ENOSPC : 0;
    }
    return 0;
}

class Room : public XrdOssWrapper {
public:
    explicit Room(XrdOss &wrapped) : XrdOssWrapper(wrapped) {}

    int Create(const char *who, const char *path, mode_t mode, XrdOucEnv &environment, int options) override {
        char place[4096];
        struct stat old;
        bool known = !wrapPI.Lfn2Pfn(path, place, sizeof place), replaces = known && !lstat(place, &old);
        long long size = known ? find_size(environment) : 0;
        int obstacle = size ? find_obstacle(place, size) : 0;
        int result = obstacle ? -obstacle : wrapPI.Create(who, path, mode, environment, options);
        // what an obstacle refused has created nothing either: if a file is there by now, another upload made it
        spared = result && (replaces || obstacle || result == -EEXIST) ? path : "";
        return result;
    }

    int Unlink(const char *path, int options, XrdOucEnv *environment) override {
        bool spare = !environment && spared == path;  // a client's own request to remove it has one
        spared.clear();
        return spare ? 0 : wrapPI.Unlink(path, options, environment);
    }

private:
    // What clients and HTTP's Content-Length say of an upload, in bytes; 0 for what says nothing.
    static long long find_size(XrdOucEnv &environment) {
        const char *text = environment.Get("oss.asize");
        errno = 0;
        long long size = text ? strtoll(text, nullptr, 10) : 0;
        return errno || size < 0 ? 0 : size;  // a copy from a source that tells no size says 2^64 - 1
    }

    // The file that the creation just refused to this thread was to replace; its removal is the next thing the thread asks for.
    static thread_local std::string spared;
};

thread_local std::string Room::spared;

}  // namespace

extern "C" XrdOss *XrdOssAddStorageSystem2(XrdOss *wrapped, XrdSysLogger *, const char *, const char *, XrdOucEnv *) {
    return new Room(*wrapped);
}

XrdVERSIONINFO(XrdOssAddStorageSystem2, farmlet);
