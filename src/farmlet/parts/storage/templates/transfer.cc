// Third-party copies over HTTP: from and to https:// alone, for whom the path here is open, and no part of a file stays of one
// that failed. XRootD's own handler does the work, but gives `Source` and `Destination` to libcurl as they are (file:///…,
// gopher://…), asks the source of a pull before it looks at any right, and closes what it was writing as if all had come. A
// plug-in for `http.exthandler` around that handler; written by Farmlet.

#include <cctype>
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <strings.h>

#include <curl/curl.h>

#include "XrdHttp/XrdHttpExtHandler.hh"
#include "XrdOfs/XrdOfs.hh"
#include "XrdOuc/XrdOucEnv.hh"
#include "XrdOuc/XrdOucErrInfo.hh"
#include "XrdSfs/XrdSfsInterface.hh"
#include "XrdSys/XrdSysError.hh"
#include "XrdVersion.hh"

// Stands before libcurl's own: no other protocol by any way, redirects included. Its name is what the handler calls.
extern "C" __attribute__((visibility("default"))) CURL *curl_easy_init() {
    static void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    static auto init = library ? reinterpret_cast<CURL *(*)()>(dlsym(library, "curl_easy_init")) : nullptr;
    static auto set = library ? reinterpret_cast<CURLcode (*)(CURL *, CURLoption, ...)>(dlsym(library, "curl_easy_setopt")) : nullptr;
    CURL *made = init && set ? init() : nullptr;
    if (!made || set(made, CURLOPT_PROTOCOLS_STR, "https") || set(made, CURLOPT_REDIR_PROTOCOLS_STR, "https")) return nullptr;
    return made;
}

namespace {

// A file that a copy reads or writes. One that is written is closed when the copy is told to be a success, not when the handler
// closes it, which it does in any case and before it tells. What nobody has closed XRootD removes (`ofs.persist`).
class Copied : public XrdOfsFileFull {
public:
    Copied(const char *user, int number) : XrdOfsFileFull(user, number) {}

    ~Copied() override { forget(); }

    int open(const char *path, XrdSfsFileOpenMode how, mode_t mode, const XrdSecEntity *client, const char *given) override {
        int result = XrdOfsFileFull::open(path, how, mode, client, given);
        const char *size = given ? strstr(given, "&oss.asize=0") : nullptr;
        empty_ = size && strchr("&", size[strlen("&oss.asize=0")]);  // or the end
        if (result == SFS_OK && how & (SFS_O_WRONLY | SFS_O_RDWR | SFS_O_CREAT | SFS_O_TRUNC)) arriving = this;
        return result;
    }

    int close() override { return arriving == this ? SFS_OK : XrdOfsFileFull::close(); }

    XrdSfsXferSize write(XrdSfsFileOffset offset, const char *bytes, XrdSfsXferSize size) override {
        XrdSfsXferSize written = XrdOfsFileFull::write(offset, bytes, size);
        whole_ = whole_ && written == size;
        empty_ = false;
        return written;
    }

    // Whether the source has said that it is empty, and nothing came.
    bool is_empty() const { return empty_; }

    // Closes it; false if not all that was to be written is there.
    bool keep() {
        if (!whole_) drop();
        forget();
        return whole_ && XrdOfsFileFull::close() == SFS_OK;
    }

    void drop() {
        forget();
        viaDel = 1;  // as when a connection breaks off
        if (oh) XrdOfsFileFull::close();
    }

    // What the copy of this thread writes.
    static thread_local Copied *arriving;

private:
    bool whole_ = true, empty_ = false;

    void forget() {
        if (arriving == this) arriving = nullptr;
    }
};

thread_local Copied *Copied::arriving = nullptr;

// The server's files, as copies open them; all else is the server's own.
class Files : public XrdSfsFileSystem {
public:
    explicit Files(XrdSfsFileSystem &files) : files_(files) {}

    XrdSfsFile *newFile(char *user, int number) override { return new Copied(user, number); }

    XrdSfsDirectory *newDir(char *user, int number) override { return files_.newDir(user, number); }

    int chmod(const char *path, XrdSfsMode mode, XrdOucErrInfo &error, const XrdSecEntity *client, const char *given) override {
        return files_.chmod(path, mode, error, client, given);
    }

    int exists(const char *path, XrdSfsFileExistence &there, XrdOucErrInfo &error, const XrdSecEntity *client,
               const char *given) override {
        return files_.exists(path, there, error, client, given);
    }

    int fsctl(const int command, const char *words, XrdOucErrInfo &error, const XrdSecEntity *client) override {
        return files_.fsctl(command, words, error, client);
    }

    int getStats(char *buffer, int length) override { return files_.getStats(buffer, length); }

    const char *getVersion() override { return files_.getVersion(); }

    int mkdir(const char *path, XrdSfsMode mode, XrdOucErrInfo &error, const XrdSecEntity *client, const char *given) override {
        return files_.mkdir(path, mode, error, client, given);
    }

    int prepare(XrdSfsPrep &request, XrdOucErrInfo &error, const XrdSecEntity *client) override {
        return files_.prepare(request, error, client);
    }

    int rem(const char *path, XrdOucErrInfo &error, const XrdSecEntity *client, const char *given) override {
        return files_.rem(path, error, client, given);
    }

    int remdir(const char *path, XrdOucErrInfo &error, const XrdSecEntity *client, const char *given) override {
        return files_.remdir(path, error, client, given);
    }

    int rename(const char *old, const char *path, XrdOucErrInfo &error, const XrdSecEntity *client, const char *given_old,
               const char *given) override {
        return files_.rename(old, path, error, client, given_old, given);
    }

    int stat(const char *path, struct stat *found, XrdOucErrInfo &error, const XrdSecEntity *client, const char *given) override {
        return files_.stat(path, found, error, client, given);
    }

    int stat(const char *path, mode_t &mode, XrdOucErrInfo &error, const XrdSecEntity *client, const char *given) override {
        return files_.stat(path, mode, error, client, given);
    }

    int truncate(const char *path, XrdSfsFileOffset size, XrdOucErrInfo &error, const XrdSecEntity *client,
                 const char *given) override {
        return files_.truncate(path, size, error, client, given);
    }

private:
    XrdSfsFileSystem &files_;
};

using Chunk = int (*)(XrdHttpExtReq *, const char *, long long);
constexpr const char *CHUNK = "_ZN13XrdHttpExtReq9ChunkRespEPKcx";  // XrdHttpExtReq::ChunkResp
Chunk send_chunk = nullptr;  // XRootD's own

bool begins(const char *text, const char *word) { return text && !strncmp(text, word, strlen(word)); }

// As it stands in a URL.
std::string quote(const std::string &text) {
    static const char digits[] = "0123456789ABCDEF";
    std::string quoted;
    for (unsigned char letter : text) {
        if (isalnum(letter) || strchr("-._~", letter)) quoted += static_cast<char>(letter);
        else quoted += {'%', digits[letter >> 4], digits[letter & 15]};
    }
    return quoted;
}

class Copy : public XrdHttpExtHandler {
public:
    Copy(XrdHttpExtHandler *handler, XrdSfsFileSystem *files) : handler_(handler), files_(files) {}

    bool MatchesPath(const char *verb, const char *path) override { return handler_->MatchesPath(verb, path); }

    int Init(const char *config) override { return handler_->Init(config); }

    int ProcessReq(XrdHttpExtReq &request) override {
        if (request.verb != "COPY") return handler_->ProcessReq(request);
        for (const auto &[name, value] : request.headers) {
            bool source = !strcasecmp(name.c_str(), "Source"), target = !strcasecmp(name.c_str(), "Destination");
            if ((source || target) && value.rfind("https://", 0) && value.rfind("davs://", 0))
                return refuse(request, 400, "a copy goes from and to https:// only");
            for (const char *word : {"If", "If-Match", "If-None-Match", "If-Unmodified-Since"})
                if (!strcasecmp(name.c_str(), word)) return refuse(request, 400, "a copy under a condition is not understood here");
        }
        XrdOucErrInfo error("transfer");
        if (!may_look(request, error)) {
            bool forbidden = error.getErrInfo() == EACCES || error.getErrInfo() == EPERM;
            return refuse(request, forbidden ? 403 : 500, error.getErrText());
        }
        return handler_->ProcessReq(request);
    }

private:
    std::unique_ptr<XrdHttpExtHandler> handler_;
    XrdSfsFileSystem *files_;

    // Whether the bearer may see whether the path is there, as all may who may read or write it. What a copy itself needs
    // is asked by the handler.
    bool may_look(XrdHttpExtReq &request, XrdOucErrInfo &error) {
        std::string path = request.resource.substr(0, request.resource.find('?')), given = "authz=" + quote(find_bearer(request));
        XrdSfsFileExistence there;
        return files_->exists(path.c_str(), there, error, &request.GetSecEntity(), given.c_str()) == SFS_OK;
    }

    // What the request shows: its header, or else `authz` of its query, which arrives decoded.
    static std::string find_bearer(const XrdHttpExtReq &request) {
        std::string query;
        for (const auto &[name, value] : request.headers) {
            if (!strcasecmp(name.c_str(), "Authorization")) return value;
            if (name == "xrd-http-query") query = "&" + value;
        }
        size_t start = query.find("&authz=");
        if (start == std::string::npos) return "";
        start += strlen("&authz=");
        return query.substr(start, query.find('&', start) - start);
    }

    static int refuse(XrdHttpExtReq &request, int status, const char *reason) {
        return request.SendSimpleResp(status, nullptr, nullptr, reason, 0);
    }
};

// Makes our functions the ones that are found by whatever is loaded from now on; false if others were there before.
bool stand_before() {
    Dl_info own, found;
    if (!dladdr(reinterpret_cast<void *>(&stand_before), &own)) return false;
    if (!dlopen(own.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD)) return false;
    for (const char *name : {"curl_easy_init", CHUNK}) {
        void *function = dlsym(RTLD_DEFAULT, name);
        if (!function || !dladdr(function, &found) || found.dli_fbase != own.dli_fbase) return false;
    }
    send_chunk = reinterpret_cast<Chunk>(dlsym(RTLD_NEXT, CHUNK));
    return send_chunk;
}

}  // namespace

// What the handler says when several streams had nothing to bring: it waits for the result of one that it never began.
constexpr const char *NO_RESULT = "failure: Internal state error in libcurl";

// Stands before XRootD's own, by which the handler tells how a copy goes (markers of its progress) and ends: `success` and
// `failure` are the words of HTTP-TPC. Before the end is told, the file is there, or it is gone.
__attribute__((visibility("default"))) int XrdHttpExtReq::ChunkResp(const char *text, long long length) {
    Copied *file = Copied::arriving;
    if (file && !begins(text, "Perf Marker")) {
        if (file->is_empty() && begins(text, NO_RESULT)) text = "success: Created";
        if (!begins(text, "success")) file->drop();
        else if (!file->keep()) text = "failure: what had come could not be kept";
    }
    return send_chunk(this, text, length);
}

extern "C" XrdHttpExtHandler *XrdHttpGetExtHandler(XrdSysError *log, const char *config, const char *words, XrdOucEnv *around) {
    if (!stand_before()) {
        log->Emsg("transfer", "libcurl or the handler of copies was there before this plug-in, which must stand before them");
        return nullptr;
    }
    const char *key = "XrdSfsFileSystem*";
    auto *files = static_cast<XrdSfsFileSystem *>(around->GetPtr(key));
    std::string name = "libXrdHttpTPC-" + std::to_string(XrdMajorVNUM(XrdVNUMBER)) + ".so";
    void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    using Maker = XrdHttpExtHandler *(*)(XrdSysError *, const char *, const char *, XrdOucEnv *);
    auto make = library ? reinterpret_cast<Maker>(dlsym(library, "XrdHttpGetExtHandler")) : nullptr;
    XrdHttpExtHandler *handler = nullptr;
    if (make && files) {
        around->PutPtr(key, new Files(*files));  // stays, as the handler does
        handler = make(log, config, words, around);
        around->PutPtr(key, files);
    }
    if (!handler) log->Emsg("transfer", "no handler for third-party copies:", library ? "it does not start" : dlerror());
    return handler ? new Copy(handler, files) : nullptr;
}

XrdVERSIONINFO(XrdHttpGetExtHandler, farmlet);
