// An upload that cannot fit is refused before a byte of it is sent, with the reason. By itself XRootD finds out while it
// writes, and over HTTP it then breaks the connection off without a word. And an upload that fails, for whatever reason, takes
// nothing with it: XRootD empties the file that is to be replaced, and removes what was not closed by its writer (`ofs.persist`)
// under the name of the upload. Here what is to replace a file is written beside it, and takes its name when it is whole: so both
// must fit. Whatever changes what is stored passes here: so names that may not be made, and requests that mean something else than
// XRootD would do, are refused here too. A plug-in for `ofs.osslib ++`; written by Farmlet.

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "XrdOss/XrdOssWrapper.hh"
#include "XrdOuc/XrdOucEnv.hh"
#include "XrdSfs/XrdSfsFlags.hh"
#include "XrdSys/XrdSysError.hh"
#include "XrdVersion.hh"

#include "names.hh"

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
    const std::string number = std::to_string(subvolume.treeid) + "/";
    const std::string kinds[] = {"/qgroups/1_", "/qgroups/0_"};  // see runtime/disk/btrfs.py; the second is that of limits set before
    for (const std::string &kind : kinds) {
        const std::string place = group + kind + number;
        long long limit = read_number(place + "max_referenced", NO_LIMIT);
        if (!(read_number(place + "limit_flags", 0) & MAX_REFERENCED) || limit < 0) continue;
        long long left = limit - read_number(place + "referenced", 0);
        return left > 0 ? left : 0;
    }
    return NO_LIMIT;
}

// 0 if a file of `size` bytes fits at `path`, else what is in the way, as errno. `path`: in the file system; its folders
// may not be there yet. What cannot be found out is in nobody's way.
int find_obstacle(std::string path, long long size) {
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

// What the thread is about to open: OFS asks for the creation of a file, and then, in the same thread, opens it.
struct Order {
    std::string path;  // of the file that is there and to be replaced; "" for none
    mode_t mode = 0;
};

thread_local Order order;

// The file that the upload of this thread was to replace, until that is opened: if it is refused before, its removal is the next
// thing that the thread asks for.
thread_local std::string spared;

// Files that are being replaced.
class Replaced {
public:
    void add(const std::string &path) {
        std::lock_guard<std::mutex> lock(mutex_);
        paths_.insert(path);
    }

    void remove(const std::string &path) {
        std::lock_guard<std::mutex> lock(mutex_);
        paths_.erase(path);
    }

    bool has(const std::string &path) {
        std::lock_guard<std::mutex> lock(mutex_);
        return paths_.count(path);
    }

private:
    std::mutex mutex_;
    std::set<std::string> paths_;
};

Replaced replaced;

// A file; one that is to replace another is beside it until it is closed as a whole.
class File : public XrdOssWrapDF {
public:
    File(XrdOssDF *file, XrdOss &system, const char *who) : XrdOssWrapDF(*file), file_(file), system_(system), who_(who) {}

    ~File() override {
        if (!beside_.empty()) finish(false);
    }

    int Open(const char *path, int flags, mode_t mode, XrdOucEnv &environment) override {
        if (order.path.empty() || order.path != path || !(flags & O_TRUNC)) return wrapDF.Open(path, flags, mode, environment);
        std::string beside = name_beside(path);
        int result = system_.Create(who_, beside.c_str(), order.mode, environment, ((O_RDWR | O_CREAT | O_EXCL) << 8) | XRDOSS_new);
        if (result) return result;
        if ((result = wrapDF.Open(beside.c_str(), flags, mode, environment))) {
            system_.Unlink(beside.c_str());
            return result;
        }
        path_ = path;
        beside_ = beside;
        replaced.add(path_);
        order.path.clear();
        spared.clear();
        return 0;
    }

    // OFS takes the mark of what is not whole away from it once its writer has closed it.
    int Fchmod(mode_t mode) override {
        int result = wrapDF.Fchmod(mode);
        whole_ = !result && !(mode & XRDSFS_POSCPEND);
        return result;
    }

    int Close(long long *size = nullptr) override {
        int result = wrapDF.Close(size);
        if (beside_.empty()) return result;
        int finished = finish(whole_ && !result);
        return result ? result : finished;
    }

private:
    std::unique_ptr<XrdOssDF> file_;
    XrdOss &system_;
    const char *who_;
    std::string path_, beside_;  // "" if it replaces nothing
    bool whole_ = false;

    static std::string name_beside(const std::string &path) {
        static std::atomic<unsigned> number{0};
        std::string name = ".farmlet-new-" + std::to_string(getpid()) + "-" + std::to_string(number++);
        return path.substr(0, path.rfind('/') + 1) + name;  // templates/sweep.py knows such names
    }

    // It takes the place of the old one, or goes.
    int finish(bool keep) {
        char from[4096], to[4096];
        int result = 0;
        if (keep && !system_.Lfn2Pfn(beside_.c_str(), from, sizeof from) && !system_.Lfn2Pfn(path_.c_str(), to, sizeof to))
            result = rename(from, to) ? -errno : 0;
        else if (keep) result = -ENAMETOOLONG;
        if (!keep || result) system_.Unlink(beside_.c_str());
        replaced.remove(path_);
        beside_.clear();
        return result;
    }
};

// What clients are told with these numbers, which mean little by themselves, and which nothing else here answers with.
const char *ALTERED = "the request has a header that is not understood here and would change what is stored: Content-Range, "
                      "Content-Encoding, Transfer-Encoding, If, If-Match, If-None-Match or If-Unmodified-Since";
const char *UNFIT = names::UNFIT;
constexpr int REFUSE_HEADER = EBADRQC, REFUSE_NAME = EILSEQ;

// Why a change is refused, as one of these numbers, or 0; `path`: what would be made, if anything. The configuration of the server
// hands on such headers.
int find_refusal(const char *path, XrdOucEnv *environment) {
    if (environment && environment->Get("farmlet.header")) return REFUSE_HEADER;
    return path && !names::are_fit(path) ? REFUSE_NAME : 0;
}

class Room : public XrdOssWrapper {
public:
    explicit Room(XrdOss &wrapped) : XrdOssWrapper(wrapped) {}

    XrdOssDF *newFile(const char *who) override {
        XrdOssDF *file = wrapPI.newFile(who);
        return file ? new File(file, wrapPI, who) : nullptr;
    }

    int Create(const char *who, const char *path, mode_t mode, XrdOucEnv &environment, int options) override {
        char place[4096];
        struct stat old;
        bool known = !wrapPI.Lfn2Pfn(path, place, sizeof place), there = known && !lstat(place, &old);
        long long size = known ? find_size(environment) : 0;
        int obstacle = find_refusal(path, &environment);
        if (size && !obstacle) obstacle = find_obstacle(place, size);
        // who may only create is held to a new file by the flags of open, which are in the second byte
        bool fresh = (options & XRDOSS_new) || ((options >> 8) & O_EXCL);
        bool replaces = there && S_ISREG(old.st_mode) && !fresh;
        order.path = replaces && !obstacle ? path : "";
        order.mode = mode;
        int result = obstacle ? -obstacle : replaces ? 0 : wrapPI.Create(who, path, mode, environment, options);
        // what an obstacle refused has created nothing either: if a file is there by now, another upload made it
        spared = replaces || (result && (there || obstacle || result == -EEXIST)) ? path : "";
        return result;
    }

    // Without an environment it is the server's own wish, after an upload that failed; a client's has one.
    int Unlink(const char *path, int options, XrdOucEnv *environment) override {
        if (int refusal = find_refusal(nullptr, environment)) return -refusal;
        bool spare = !environment && (spared == path || replaced.has(path));
        spared.clear();
        return spare ? 0 : wrapPI.Unlink(path, options, environment);
    }

    int Remdir(const char *path, int options, XrdOucEnv *environment) override {
        int refusal = find_refusal(nullptr, environment);
        return refusal ? -refusal : wrapPI.Remdir(path, options, environment);
    }

    int Mkdir(const char *path, mode_t mode, int parents, XrdOucEnv *environment) override {
        int refusal = find_refusal(path, environment);
        return refusal ? -refusal : wrapPI.Mkdir(path, mode, parents, environment);
    }

    // Onto a file that is there only where this is asked for, as webdav.cc does; then that goes at the moment the other comes.
    // What has not come as a whole stays under its name: if the rest does not come, XRootD removes what has that name then.
    int Rename(const char *old, const char *path, XrdOucEnv *given_old, XrdOucEnv *given) override {
        if (int refusal = find_refusal(path, given)) return -refusal;
        char from[4096], to[4096];
        int error = wrapPI.Lfn2Pfn(old, from, sizeof from);
        if (!error) error = wrapPI.Lfn2Pfn(path, to, sizeof to);
        if (error) return -abs(error);
        if (is_arriving(from) || is_arriving(to)) return -ETXTBSY;
        if (!given || !given->Get("farmlet.replace")) return wrapPI.Rename(old, path, given_old, given);
        return rename(from, to) ? -errno : 0;
    }

private:
    static bool is_arriving(const char *place) {
        struct stat found;
        return !lstat(place, &found) && S_ISREG(found.st_mode) && found.st_mode & XRDSFS_POSCPEND;
    }

    // What clients and HTTP's Content-Length say of an upload, in bytes; 0 for what says nothing.
    static long long find_size(XrdOucEnv &environment) {
        const char *text = environment.Get("oss.asize");
        errno = 0;
        long long size = text ? strtoll(text, nullptr, 10) : 0;
        return errno || size < 0 ? 0 : size;  // a copy from a source that tells no size says 2^64 - 1
    }
};

}  // namespace

extern "C" XrdOss *XrdOssAddStorageSystem2(XrdOss *wrapped, XrdSysLogger *, const char *, const char *, XrdOucEnv *) {
    XrdSysError::addTable(new XrdSysError_Table(REFUSE_HEADER, REFUSE_HEADER, &ALTERED));
    XrdSysError::addTable(new XrdSysError_Table(REFUSE_NAME, REFUSE_NAME, &UNFIT));
    return new Room(*wrapped);
}

XrdVERSIONINFO(XrdOssAddStorageSystem2, farmlet);
