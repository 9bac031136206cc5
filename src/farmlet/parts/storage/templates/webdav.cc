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
constexpr const char *ELSEWHERE = "Destination is elsewhere: MOVE stays on one element, COPY does not";
constexpr const char *NO_URL = "Destination is no URL of a name here: UTF-8 of at most 254 bytes, percent-encoded, without control "
                               "characters and without a question mark";
constexpr const char *KEPT = "something is there, and Overwrite is F";
constexpr const char *OTHER_DISK = "Destination has a limit or a disk of its own: copy, then delete";
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
        if (digits.size() != 2 || digits.find_first_not_of("0123456789ABCDEFabcdef") != std::string::npos) return false;
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
    auto full = request.headers.find("xrd-http-fullresource");  // XRootD's own; a client's would be written otherwise
    if (full == request.headers.end()) return "";
    size_t start = full->second.find('?');  // none is in the path: see `MatchesPath`
    return start == std::string::npos ? "" : full->second.substr(start + 1);
}

// The path that a Destination names, decoded; else the status that says why not.
int read_destination(const XrdHttpExtReq &request, std::string &path) {
    std::string place = find_header(request, "Destination");
    size_t authority = place.find("://");
    if (place[0] != '/' && authority != std::string::npos) {
        size_t start = authority + 3, end = std::min(place.find('/', start), place.size());
        if (strcasecmp(place.substr(start, end - start).c_str(), find_header(request, "Host").c_str())) return 502;
        place.erase(0, end);
    }
    place.erase(std::min(place.find_first_of("?#"), place.size()));
    if (place.empty() || place[0] != '/' || !unquote(place, path)) return 400;
    path = tidy(path);
    return names::are_fit(path.c_str()) ? 0 : 400;
}

// The HTTP status of what XRootD answered with; 0 if it did what was asked.
int find_status(int result, XrdOucErrInfo &error) {
    if (result == SFS_OK) return 0;
    if (result != SFS_ERROR) return 503;  // later, or elsewhere
    switch (error.getErrInfo()) {
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

    // 0, or the status of why it is not to be seen.
    int look(const XrdHttpExtReq &request, const std::string &path, struct stat &found, XrdOucErrInfo &error) {
        return find_status(files_.stat(path.c_str(), &found, error, &request.GetSecEntity(), find_given(request).c_str()), error);
    }

    int list(XrdHttpExtReq &request) {
        const std::string path = request.resource, depth = find_header(request, "Depth");
        XrdOucErrInfo error("webdav");
        struct stat found;
        if (!depth.empty() && depth != "0" && depth != "1")
            return answer(request, 403, "Depth is 0 or 1 here: ask for each folder by itself");
        if (int status = look(request, path, found, error)) return answer(request, status, error.getErrText());
        std::string listing = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n";
        append(listing, path, found);
        if (depth == "1" && S_ISDIR(found.st_mode)) {
            std::unique_ptr<XrdSfsDirectory> folder(files_.newDir());
            if (!folder) return answer(request, 500, "no memory");
            if (int status = list_folder(request, *folder, path + (path.back() == '/' ? "" : "/"), listing))
                return answer(request, status, folder->error.getErrText());
        }
        listing += "</D:multistatus>\n";
        return request.SendSimpleResp(207, "Multi-Status", XML, listing.c_str(), listing.size());
    }

    // What is in a folder; 0, or the status of why not. `path` ends in a `/`.
    static int list_folder(XrdHttpExtReq &request, XrdSfsDirectory &folder, const std::string &path, std::string &listing) {
        struct stat found;
        int result = folder.open(path.c_str(), &request.GetSecEntity(), find_given(request).c_str());
        if (result == SFS_OK) result = folder.autoStat(&found);
        if (result != SFS_OK) return find_status(result, folder.error);
        while (const char *name = folder.nextEntry())
            if (strcmp(name, ".") && strcmp(name, "..")) append(listing, path + name, found);
        return folder.error.getErrInfo() ? find_status(SFS_ERROR, folder.error) : 0;
    }

    int move(XrdHttpExtReq &request) {
        const std::string from = tidy(request.resource), given = find_given(request);
        std::string to;
        if (int status = read_destination(request, to)) return answer(request, status, status == 502 ? ELSEWHERE : NO_URL);
        if (from == to) return answer(request, 403, "Destination is where it is");
        XrdOucErrInfo error("webdav");
        struct stat old, there, folder;
        if (int status = look(request, from, old, error)) return answer(request, status, error.getErrText());
        int missing = look(request, to.substr(0, std::max<size_t>(to.rfind('/'), 1)), folder, error);
        // whose bearer may not see the folder is told so below
        if (missing == 404 || (!missing && !S_ISDIR(folder.st_mode)))
            return answer(request, 409, "the folder of Destination is not there");
        bool keep = !strcasecmp(find_header(request, "Overwrite").c_str(), "F"), replaced = !look(request, to, there, error);
        if (replaced && keep) return answer(request, 412, KEPT);
        if (replaced && S_ISDIR(there.st_mode) != S_ISDIR(old.st_mode))
            return answer(request, 409, "a folder does not replace a file, nor a file a folder");
        const std::string wish = keep ? given : given + (given.empty() ? "" : "&") + "farmlet.replace=1";  // a word to room.cc
        int result = files_.rename(from.c_str(), to.c_str(), error, &request.GetSecEntity(), given.c_str(), wish.c_str());
        int status = find_status(result, error);
        if (!status) return answer(request, replaced ? 204 : 201, "moved");
        if (error.getErrInfo() == EEXIST && keep) return answer(request, 412, KEPT);
        return answer(request, status, error.getErrInfo() == EXDEV ? OTHER_DISK : error.getErrText());
    }
};

}  // namespace

extern "C" XrdHttpExtHandler *XrdHttpGetExtHandler(XrdSysError *log, const char *, const char *, XrdOucEnv *around) {
    auto *files = static_cast<XrdSfsFileSystem *>(around->GetPtr("XrdSfsFileSystem*"));
    if (!files) log->Emsg("webdav", "there are no files to list");
    return files ? new WebDav(*files) : nullptr;
}

XrdVERSIONINFO(XrdHttpGetExtHandler, farmlet);
