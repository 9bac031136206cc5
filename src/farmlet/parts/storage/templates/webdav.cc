// PROPFIND and MOVE of WebDAV (RFC 4918). XRootD's own answer to PROPFIND has names as they are where URLs belong, and is no XML
// with some of them; its MOVE takes the escapes of `Destination` for the name, and knows no `Overwrite`. All else is XRootD's,
// unless the path is one that it would cut off, or that may not be made. A plug-in for `http.exthandler`; written by Farmlet.

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <strings.h>
#include <sys/stat.h>

#include "XrdHttp/XrdHttpExtHandler.hh"
#include "XrdOuc/XrdOucEnv.hh"
#include "XrdOuc/XrdOucErrInfo.hh"
#include "XrdSec/XrdSecEntity.hh"
#include "XrdSfs/XrdSfsInterface.hh"
#include "XrdSys/XrdSysError.hh"
#include "XrdVersion.hh"

#include "names.hh"

namespace {

constexpr long long MOST = 1 << 20;  // bytes of a body that are read, to be passed over
constexpr const char *XML = "Content-Type: application/xml; charset=\"utf-8\"";

// A path as it stands in a URL (RFC 3986) and in XML. What need not be quoted is not: some clients show names as they come.
std::string quote(const std::string &path) {
    static const char digits[] = "0123456789ABCDEF";
    std::string quoted;
    for (unsigned char letter : path) {
        if ((letter < 128 && isalnum(letter)) || (letter && strchr("-._~/!$()*,:=@", letter))) quoted += static_cast<char>(letter);
        else quoted += {'%', digits[letter >> 4], digits[letter & 15]};
    }
    return quoted;
}

// The other way; false if it is not quoted well, or has a NUL in it.
bool unquote(const std::string &quoted, std::string &path) {
    for (size_t place = 0; place < quoted.size(); place++) {
        if (quoted[place] != '%') {
            path += quoted[place];
            continue;
        }
        std::string digits = quoted.substr(place + 1, 2);
        if (digits.size() != 2 || !isxdigit(static_cast<unsigned char>(digits[0])) || !isxdigit(static_cast<unsigned char>(digits[1])))
            return false;
        path += static_cast<char>(std::stoi(digits, nullptr, 16));
        place += 2;
    }
    return path.find('\0') == std::string::npos;
}

// One `/` where there are several, as XRootD makes it of a request's path, and none at the end.
std::string tidy(const std::string &path) {
    std::string tidied;
    for (char letter : path)
        if (letter != '/' || tidied.empty() || tidied.back() != '/') tidied += letter;
    if (tidied.size() > 1 && tidied.back() == '/') tidied.pop_back();
    return tidied;
}

std::string find_header(const XrdHttpExtReq &request, const char *name) {
    for (const auto &[key, value] : request.headers)
        if (!strcasecmp(key.c_str(), name)) return value;
    return "";
}

// What XRootD itself appends to the path for all who judge a request: the bearer's token, and headers (`http.header2cgi`).
std::string find_given(const XrdHttpExtReq &request) {
    std::string full = find_header(request, "xrd-http-fullresource");
    size_t start = full.find('?');  // none is in the path: see `MatchesPath`
    return start == std::string::npos ? "" : full.substr(start + 1);
}

// The path that a Destination names, decoded; else the status that says why not.
int read_destination(const XrdHttpExtReq &request, std::string &path) {
    std::string place = find_header(request, "Destination");
    size_t authority = place.find("://");
    if (authority != std::string::npos) {
        size_t start = authority + 3, end = std::min(place.find('/', start), place.size());
        if (strcasecmp(place.substr(start, end - start).c_str(), find_header(request, "Host").c_str())) return 502;
        place.erase(0, end);
    }
    place.erase(std::min(place.find_first_of("?#"), place.size()));
    if (place.empty() || place[0] != '/' || !unquote(place, path)) return 400;
    path = tidy(path);
    return names::are_fit(path.c_str()) ? 0 : 400;
}

// What an error means to who asked.
int find_status(int error) {
    switch (error) {
        case ENOENT: case ENOTDIR: return 404;
        case EACCES: case EPERM: return 403;
        case EEXIST: case ENOTEMPTY: case EISDIR: case EXDEV: return 409;
        case EINVAL: case EILSEQ: case EBADRQC: return 400;
        case EBUSY: case ETXTBSY: case EINPROGRESS: return 423;
        case ENAMETOOLONG: return 414;
        case EDQUOT: case ENOSPC: return 507;
        default: return 500;
    }
}

// One resource of a listing; all of it is ASCII, whatever the name is.
void append(std::string &listing, const std::string &path, const struct stat &found) {
    bool folder = S_ISDIR(found.st_mode);
    char date[64];
    struct tm time;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&found.st_mtime, &time));
    listing += "<D:response><D:href>" + quote(path) + (folder && path.back() != '/' ? "/" : "") + "</D:href><D:propstat><D:prop>";
    listing += "<D:getcontentlength>" + std::to_string(found.st_size) + "</D:getcontentlength>";
    listing += "<D:getlastmodified>" + std::string(date) + "</D:getlastmodified>";
    listing += folder ? "<D:resourcetype><D:collection/></D:resourcetype>" : "<D:resourcetype/>";
    listing += "<D:iscollection>" + std::to_string(folder) + "</D:iscollection>";  // no standard; some clients look there
    listing += "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>\n";
}

class WebDav : public XrdHttpExtHandler {
public:
    explicit WebDav(XrdSfsFileSystem &files) : files_(files) {}

    // A path with `?` XRootD would cut off there. What may not be made may be there: it is read and removed as all else is.
    bool MatchesPath(const char *verb, const char *path) override {
        for (const char *ours : {"PROPFIND", "MOVE"})
            if (!strcmp(verb, ours)) return true;
        for (const char *maker : {"PUT", "MKCOL", "COPY"})
            if (!strcmp(verb, maker)) return !names::are_fit(path);
        return strchr(path, '?');
    }

    int Init(const char *) override { return 0; }

    int ProcessReq(XrdHttpExtReq &request) override {
        bool whole = pass_body(request), cut = request.resource.find('?') != std::string::npos;
        int result = !cut && request.verb == "PROPFIND" ? list(request)
                     : !cut && request.verb == "MOVE"   ? move(request)
                                                        : answer(request, 400, names::UNFIT);
        return whole ? result : -1;  // what is left of the body would be taken for the next request
    }

private:
    XrdSfsFileSystem &files_;

    // Whether nothing of the request is left to be read.
    static bool pass_body(XrdHttpExtReq &request) {
        if (!find_header(request, "Transfer-Encoding").empty() || !find_header(request, "Expect").empty()) return false;
        long long left = request.length;
        for (char *data; left > 0 && request.length <= MOST;) {
            int size = request.BuffgetData(static_cast<int>(left), &data, true);
            if (size <= 0) return false;
            left -= size;
        }
        return left <= 0;
    }

    static int answer(XrdHttpExtReq &request, int status, const std::string &text) {
        if (status == 204 || request.verb == "HEAD") return request.SendSimpleResp(status, nullptr, nullptr, nullptr, 0);
        return request.SendSimpleResp(status, nullptr, nullptr, (text + "\n").c_str(), text.size() + 1);
    }

    static int fail(XrdHttpExtReq &request, XrdOucErrInfo &error) {
        return answer(request, find_status(error.getErrInfo()), error.getErrText());
    }

    int list(XrdHttpExtReq &request) {
        const std::string path = request.resource, given = find_given(request), depth = find_header(request, "Depth");
        XrdOucErrInfo error("webdav");
        struct stat found;
        if (!depth.empty() && depth != "0" && depth != "1")
            return answer(request, 403, "Depth is 0 or 1 here: ask for each folder by itself");
        if (files_.stat(path.c_str(), &found, error, &request.GetSecEntity(), given.c_str()) != SFS_OK) return fail(request, error);
        std::string listing = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n";
        append(listing, path, found);
        if (depth == "1" && S_ISDIR(found.st_mode)) {
            std::unique_ptr<XrdSfsDirectory> folder(files_.newDir());
            if (!folder) return answer(request, 500, "no memory");
            if (folder->open(path.c_str(), &request.GetSecEntity(), given.c_str()) != SFS_OK || folder->autoStat(&found) != SFS_OK)
                return fail(request, folder->error);
            while (const char *name = folder->nextEntry())
                if (strcmp(name, ".") && strcmp(name, "..")) append(listing, path + (path.back() == '/' ? "" : "/") + name, found);
            if (folder->error.getErrInfo()) return fail(request, folder->error);
            folder->close();
        }
        listing += "</D:multistatus>\n";
        return request.SendSimpleResp(207, "Multi-Status", XML, listing.c_str(), listing.size());
    }

    int move(XrdHttpExtReq &request) {
        const std::string from = tidy(request.resource), given = find_given(request);
        std::string to;
        if (int status = read_destination(request, to))
            return answer(request, status, status == 502 ? "Destination is elsewhere: MOVE stays on one element, COPY does not"
                                                         : std::string("Destination is no URL of a name here: ") + names::UNFIT);
        if (from == to) return answer(request, 403, "Destination is where it is");
        XrdOucErrInfo error("webdav");
        struct stat old, there, folder;
        auto look = [&](const std::string &path, struct stat &found) {
            return files_.stat(path.c_str(), &found, error, &request.GetSecEntity(), given.c_str()) == SFS_OK;
        };
        if (!look(from, old)) return fail(request, error);
        if (look(to.substr(0, std::max<size_t>(to.rfind('/'), 1)), folder) ? !S_ISDIR(folder.st_mode)
                                                                          : find_status(error.getErrInfo()) == 404)
            return answer(request, 409, "the folder of Destination is not there");
        bool keep = !strcasecmp(find_header(request, "Overwrite").c_str(), "F"), replaced = look(to, there);
        if (replaced && keep) return answer(request, 412, "something is there, and Overwrite is F");
        if (replaced && S_ISDIR(there.st_mode) != S_ISDIR(old.st_mode))
            return answer(request, 409, "a folder does not replace a file, nor a file a folder");
        // room.cc knows this word
        const std::string wish = given + (given.empty() ? "" : "&") + (keep ? "" : "farmlet.replace=1");
        if (files_.rename(from.c_str(), to.c_str(), error, &request.GetSecEntity(), given.c_str(), wish.c_str()) == SFS_OK)
            return answer(request, replaced ? 204 : 201, "moved");
        if (error.getErrInfo() == EEXIST && keep) return answer(request, 412, "something is there, and Overwrite is F");
        if (error.getErrInfo() == EXDEV) return answer(request, 409, "Destination has a limit or a disk of its own: copy, then delete");
        return fail(request, error);
    }
};

}  // namespace

extern "C" XrdHttpExtHandler *XrdHttpGetExtHandler(XrdSysError *log, const char *, const char *, XrdOucEnv *around) {
    auto *files = static_cast<XrdSfsFileSystem *>(around->GetPtr("XrdSfsFileSystem*"));
    if (!files) log->Emsg("webdav", "there are no files to list");
    return files ? new WebDav(*files) : nullptr;
}

XrdVERSIONINFO(XrdHttpGetExtHandler, farmlet);
