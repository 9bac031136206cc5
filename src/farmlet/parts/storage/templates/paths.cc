// No path leaves the folder that its token names: a component `..` is refused at the one place that all paths pass on their way to
// the disk. XRootD looks for `../` in requests of its own protocol and of WebDAV's usual methods, but not in a third-party copy,
// nor for `..` at the end; and what compares paths with tokens compares text. A plug-in for `oss.namelib`; written by Farmlet.

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "XrdOuc/XrdOucName2Name.hh"
#include "XrdVersion.hh"

namespace {

bool climbs(const char *path) {
    for (const char *dots = strstr(path, ".."); dots; dots = strstr(dots + 1, "..")) {
        bool begins = dots == path || dots[-1] == '/', ends = !dots[2] || dots[2] == '/';
        if (begins && ends) return true;
    }
    return false;
}

class Paths : public XrdOucName2Name {
public:
    explicit Paths(const char *root) : root_(root ? root : "") {
        while (!root_.empty() && root_.back() == '/') root_.pop_back();
    }

    int lfn2pfn(const char *path, char *place, int length) override { return write(root_, path, place, length); }

    // there is no storage behind ours
    int lfn2rfn(const char *path, char *place, int length) override { return write("", path, place, length); }

    int pfn2lfn(const char *place, char *path, int length) override {
        return write("", strncmp(place, root_.c_str(), root_.size()) ? place : place + root_.size(), path, length);
    }

private:
    std::string root_;

    // 0, or why not, as errno.
    static int write(const std::string &root, const char *path, char *buffer, int length) {
        if (climbs(path)) return EACCES;
        return snprintf(buffer, length, "%s%s%s", root.c_str(), *path == '/' ? "" : "/", path) < length ? 0 : ENAMETOOLONG;
    }
};

}  // namespace

extern "C" XrdOucName2Name *XrdOucgetName2Name(XrdSysError *, const char *, const char *, const char *root, const char *) {
    return new Paths(root);
}

XrdVERSIONINFO(XrdOucgetName2Name, farmlet);
